//! `GET /kv/{key}` and `HEAD`: the entry as JSON, or its bytes.

use std::sync::Arc;

use axum::{
    body::Body,
    extract::FromRequestParts,
    http::{HeaderValue, Method, StatusCode, header, request::Parts},
    response::Response,
};
use keystead_kv::{JSON, Store, json::entry_json};
use keystead_route::Reads;

use super::{Keyed, counted, not_found, raw};
use crate::{
    Gateway,
    auth::{Asking, Scope},
    http_text::{Tags, accepts, etag},
    problem::{Code, Problem},
    query::parameters,
    telemetry::OperationKind,
    tenants::Tenant,
};

const BYTES: &str = "application/octet-stream";

/// What the head of a read asks for; the rest of it is not kept.
pub(crate) struct Wanted {
    keyed: Keyed,
    unless: Option<Tags>,
    bytes: bool,
    /// With headers for what the JSON says beside the value.
    tells: bool,
    from: From,
}

/// Where a read may be answered, as the request says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum From {
    /// As the tenant has it: by its primary or this gateway's memory, or by a replica.
    #[default]
    Anywhere,
    /// By nobody but the primary; of a list, by that of each shard.
    Primary,
    /// By a replica where there is one, even if it is a little behind.
    Replica,
}

impl From {
    fn of_query(query: &str) -> Result<Self, Problem> {
        let mut from = Self::default();
        for parameter in parameters(query, "") {
            let (name, value) = parameter?;
            if name != "consistency" {
                let detail = format!("the query has no parameter {name:?}: consistency is known");
                return Err(Problem::new(Code::Invalid, detail));
            }
            from = Self::parse(&value)?;
        }
        Ok(from)
    }

    /// The parameter `consistency`.
    pub(super) fn parse(value: &str) -> Result<Self, Problem> {
        match value {
            "primary" => Ok(Self::Primary),
            "replica" => Ok(Self::Replica),
            _ => Err(Problem::new(Code::Invalid, "consistency: `primary` or `replica`")),
        }
    }

    /// The value of that parameter; none where it was not there.
    pub(super) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Anywhere => None,
            Self::Primary => Some("primary"),
            Self::Replica => Some("replica"),
        }
    }

    /// The tenant's store as it is to be read. What a replica gives is never kept in memory.
    pub(super) fn store(self, tenant: &Tenant) -> Store {
        match (self, tenant.route().redis.reads) {
            (Self::Replica, _) | (Self::Anywhere, Reads::Replica) => tenant.store().from_replica(),
            (Self::Primary, _) | (Self::Anywhere, Reads::Primary) => tenant.store(),
        }
    }
}

impl FromRequestParts<Arc<Gateway>> for Wanted {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, gateway: &Arc<Gateway>) -> Result<Self, Problem> {
        let Asking(caller) = Asking::from_request_parts(parts, gateway).await?;
        let keyed = Keyed::of(caller, parts)?;
        let headers = &parts.headers;
        let from = parts.uri.query().map_or(Ok(From::default()), From::of_query)?;
        let bytes = accepts(headers, BYTES);
        let tells = bytes || parts.method == Method::HEAD;
        Ok(Self { keyed, unless: Tags::of(headers, &header::IF_NONE_MATCH), bytes, tells, from })
    }
}

#[utoipa::path(
    method(get, head),
    path = "/kv/{key}",
    tag = "kv",
    operation_id = "read_entry",
    summary = "Read a key",
    params(
        ("key" = String, Path, description = "Percent-encoded; an encoded `/` is part of the key", example = "greeting"),
        ("If-None-Match" = Option<String>, Header, description = "An `ETag`, or `*`"),
        ("consistency" = Option<String>, Query, description = "`primary`: by nobody but the primary, never from memory; `replica`: by a replica where one is quick, and it may be a little behind. As the tenant has it when absent"),
    ),
    responses(
        (status = 200, description = "The entry, or its bytes with `Accept: application/octet-stream`", body = crate::routes::schemas::Entry,
            headers(
                ("X-TTL" = u64, description = "With bytes and of `HEAD`: seconds left; 0 where it never expires"),
                ("X-Tags" = String, description = "With bytes and of `HEAD`: `name=value, other=value`"),
            )),
        (status = 304, description = "It is as `If-None-Match` says"),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn read(Wanted { keyed, unless, bytes, tells, from }: Wanted) -> Result<Response, Problem> {
    keyed.caller.needs(Scope::KvRead)?;
    let tenant = &keyed.caller.tenant;
    // Who names a state has seen it, and must not be told of an earlier one.
    let store = if unless.is_some() && from == From::Anywhere { tenant.store() } else { from.store(tenant) };
    let read = match from {
        From::Anywhere | From::Replica => store.read(&keyed.key).await,
        From::Primary => store.read_primary(&keyed.key).await,
    };
    let read = counted(&keyed.caller, OperationKind::Get, read)?;
    if let Some(was_cached) = read.was_cached {
        keyed.caller.tenant.operations.count_cache(was_cached);
    }
    let entry = read.entry.ok_or_else(not_found)?;
    let etag = etag(entry.metadata.entity_tag());
    let unchanged = match unless {
        None => false,
        Some(Tags::Any) => true,
        Some(Tags::These(tags)) => tags.contains(&entry.metadata.entity_tag()),
    };
    let mut response = Response::new(Body::empty());
    let out = response.headers_mut();
    // Room for all that is added on the way out: to grow is a good part of a read's work.
    out.reserve(8);
    out.insert(header::ETAG, etag);
    // The same path answers with the entry or with its bytes, as the client asks.
    out.insert(header::VARY, HeaderValue::from_static("accept"));
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return Ok(response);
    }
    if tells {
        raw::tell(out, &entry.metadata);
    }
    if bytes {
        let content_type =
            HeaderValue::try_from(&entry.metadata.content_type).unwrap_or(HeaderValue::from_static(BYTES));
        out.insert(header::CONTENT_TYPE, content_type);
        // Whatever the bytes are, a browser must not run them in the gateway's name.
        out.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        out.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
        *response.body_mut() = Body::from(keyed.caller.tenant.answer(entry.value.clone()));
    } else {
        out.insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
        *response.body_mut() = Body::from(keyed.caller.tenant.answer(entry_json(&keyed.key, &entry)));
    }
    Ok(response)
}
