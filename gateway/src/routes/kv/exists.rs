//! `GET /kv/{key}/exists`.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use serde_json::json;

use super::{Keyed, counted};
use crate::{Gateway, auth::Scope, problem::Problem};

pub(crate) async fn exists(State(gateway): State<Arc<Gateway>>, keyed: Keyed) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let exists = keyed.caller.tenant.store().exists(&keyed.key).await;
    let exists = counted(&gateway, &keyed.caller, "exists", exists)?;
    Ok(Json(json!({"exists": exists})).into_response())
}
