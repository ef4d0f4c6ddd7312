//! `GET /kv`: keys in byte order, by page or by cursor; and how many there are.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::header,
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use keystead_kv::{JSON, Select, json::push_item};
use serde::Deserialize;
use serde_json::json;

use super::counted;
use crate::{
    Gateway,
    auth::{Caller, Scope},
    problem::{Code, Problem},
};

const MAX_PAGE_SIZE: u64 = 1000;
const DEFAULT_PAGE_SIZE: u64 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// From 1.
    page: Option<u64>,
    page_size: Option<u64>,
    cursor: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    prefix: String,
}

pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    caller: Caller,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    let Query(parameters) =
        parameters.map_err(|rejection| Problem::new(Code::Invalid, format!("the query: {rejection}")))?;
    let invalid = |detail: &'static str| Problem::new(Code::Invalid, detail);
    if parameters.cursor.is_some() && parameters.page.is_some() {
        return Err(invalid("`page` and `cursor` exclude each other"));
    }
    let page = parameters.page.unwrap_or(1);
    let size = parameters.page_size.or(parameters.limit).unwrap_or(DEFAULT_PAGE_SIZE);
    if page == 0 || page > 1_000_000_000 {
        return Err(invalid("page: a number from 1"));
    }
    if size == 0 || size > MAX_PAGE_SIZE {
        return Err(invalid("page_size and limit: a number from 1 to 1000"));
    }
    let after = parameters.cursor.as_deref().map(decode_cursor).transpose()?;
    let select = match &after {
        Some(key) => Select::After(key),
        None => Select::Offset((page - 1) * size),
    };
    let listing = caller.tenant.store().list(&parameters.prefix, select, size).await;
    let listing = counted(&gateway, &caller, "list", listing)?;

    let mut json = String::with_capacity(64 + listing.items.len() * 200);
    json.push_str("{\"items\":[");
    for (index, (key, metadata)) in listing.items.iter().enumerate() {
        if index > 0 {
            json.push(',');
        }
        push_item(&mut json, key, metadata);
    }
    let _ = write!(json, "],\"total\":{},\"page\":{page},\"page_size\":{size}", listing.total);
    let next = listing.next_after.as_deref().map(|key| BASE64_URL_SAFE_NO_PAD.encode(key));
    if let Some(cursor) = &next {
        let _ = write!(json, ",\"next_cursor\":\"{cursor}\"");
    }
    json.push('}');
    let mut response = ([(header::CONTENT_TYPE, JSON)], json).into_response();
    if let Some(link) = next.and_then(|cursor| link(&parameters, &cursor, size).parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

pub(crate) async fn count(State(gateway): State<Arc<Gateway>>, caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    let count = caller.tenant.store().count().await;
    let count = counted(&gateway, &caller, "count", count)?;
    Ok(Json(json!({"count": count})).into_response())
}

/// RFC 8288: the next page, relative to this one.
fn link(parameters: &Parameters, cursor: &str, size: u64) -> String {
    let mut query = format!("?cursor={cursor}&limit={size}");
    if !parameters.prefix.is_empty() {
        query.push_str("&prefix=");
        for byte in parameters.prefix.bytes() {
            let _ = write!(query, "%{byte:02X}");
        }
    }
    format!("<{query}>; rel=\"next\"")
}

fn decode_cursor(cursor: &str) -> Result<String, Problem> {
    BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Problem::new(Code::Invalid, "cursor: take it from `next_cursor` of the page before"))
}
