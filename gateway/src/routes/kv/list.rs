//! `GET /kv`: keys in byte order, by page or by cursor; and how many there are.

use std::{fmt::Write as _, sync::Arc};

use axum::{
    Json,
    extract::{RawQuery, State},
    http::{HeaderMap, header},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use keystead_kv::{
    Filter, JSON, Select,
    json::{push_entry, push_item},
};
use serde_json::json;

use super::{
    counted,
    read::From,
    stream::{NDJSON, stream},
};
use crate::{
    Gateway,
    auth::{Asking, Caller, Scope},
    http_text::accepts,
    problem::{Code, Problem},
    query::parameters,
    telemetry::OperationKind,
};

const MAX_PAGE: u64 = 1_000_000_000;
const MAX_PAGE_SIZE: u64 = 1000;
const DEFAULT_PAGE_SIZE: u64 = 100;

/// Most tags to filter by.
const MAX_FILTERS: usize = 8;
/// Where an answer with values ends early, in bytes of them.
const MAX_VALUES: u64 = 8 * 1024 * 1024;

/// What a list's query asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parameters {
    /// From 1.
    page: Option<u64>,
    size: Option<u64>,
    pub(super) after: Option<String>,
    pub(super) prefix: String,
    pub(super) tags: Vec<(String, String)>,
    pub(super) values: bool,
    pub(super) from: From,
}

impl Parameters {
    fn of(query: &str) -> Result<Self, Problem> {
        let invalid = |detail: String| Problem::new(Code::Invalid, detail);
        let mut all = Self::default();
        for parameter in parameters(query, "tag_filter") {
            let (name, value) = parameter?;
            let number = |largest: u64| {
                value.parse().ok().filter(|number| (1..=largest).contains(number)).ok_or_else(|| {
                    invalid(format!("{name}: a number from 1 to {largest}, and not {value:?}"))
                })
            };
            match &*name {
                "page" => all.page = Some(number(MAX_PAGE)?),
                "page_size" | "limit" if all.size.is_some() => {
                    return Err(invalid("`page_size` and `limit` are the same: send one of them".into()));
                }
                "page_size" | "limit" => all.size = Some(number(MAX_PAGE_SIZE)?),
                "cursor" => all.after = Some(decode_cursor(&value)?),
                "prefix" => all.prefix = value.into_owned(),
                "tag_filter" => {
                    let (tag, value) = value.split_once(':').ok_or_else(|| {
                        invalid("tag_filter: a tag and its value, as in `colour:red`".into())
                    })?;
                    all.tags.push((tag.to_owned(), value.to_owned()));
                }
                "values" => {
                    all.values =
                        value.parse().map_err(|_| invalid("values: `true` or `false`".to_owned()))?;
                }
                "consistency" => all.from = From::parse(&value)?,
                other => {
                    return Err(invalid(format!(
                        "the query has no parameter {other:?}: page, page_size, cursor, limit, prefix, \
                         tag_filter, values and consistency are known"
                    )));
                }
            }
        }
        if all.tags.len() > MAX_FILTERS {
            return Err(invalid(format!("tag_filter: at most {MAX_FILTERS} of them")));
        }
        if all.page.is_some() && all.after.is_some() {
            return Err(invalid("`page` and `cursor` exclude each other".into()));
        }
        if all.page.is_some() && all.values {
            // Its pages end where the bytes do, so that the next one cannot be found by counting.
            return Err(invalid("`values=true` goes with `cursor` and `limit`, not with `page`".into()));
        }
        Ok(all)
    }
}

#[utoipa::path(
    get,
    path = "/kv",
    tag = "kv",
    operation_id = "list_entries",
    summary = "List keys in byte order",
    params(
        ("page" = Option<u64>, Query, description = "From 1; excludes `cursor` and `values=true`"),
        ("page_size" = Option<u64>, Query, description = "1 to 1000; 100 when absent"),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the answer before"),
        ("limit" = Option<u64>, Query, description = "As `page_size`"),
        ("prefix" = Option<String>, Query, description = "What the keys begin with"),
        ("tag_filter" = Option<Vec<String>>, Query, description = "`name:value`, up to 8 times; all must hold"),
        ("values" = Option<bool>, Query, description = "With their values; by `cursor` only"),
        ("consistency" = Option<String>, Query, description = "`primary`: by the primary, of several shards by all of theirs, and no snapshot; `replica`: by a replica where one is quick; it may be a little behind, and `total` may count what has just expired. As the tenant has it when absent"),
        ("Accept" = Option<String>, Header, description = "`application/x-ndjson`: all of them, a line each, in one answer of any length"),
    ),
    responses(
        (status = 200, description = "A part of them", body = crate::routes::schemas::List),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    Asking(caller): Asking,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    let parameters = Parameters::of(query.as_deref().unwrap_or(""))?;
    caller.principal.may_use(&parameters.prefix)?;
    if accepts(&headers, NDJSON) {
        if parameters.page.is_some() || parameters.size.is_some() {
            let detail = "an answer in lines has no pages: leave `page`, `page_size` and `limit` out";
            return Err(Problem::new(Code::Invalid, detail));
        }
        return stream(gateway, caller, parameters).await;
    }
    let size = parameters.size.unwrap_or(DEFAULT_PAGE_SIZE);
    let by_page = parameters.after.is_none() && !parameters.values;
    let page = parameters.page.unwrap_or(1);
    let select = match &parameters.after {
        Some(key) => Select::After(key),
        None => Select::Offset((page - 1) * size),
    };
    let filter = Filter { prefix: &parameters.prefix, tags: &parameters.tags };
    let mut json = String::from("{\"items\":[");
    // Not the way of what is confirmed, also of the primary: its long answers would hold up everybody's writes there.
    let store = parameters.from.store(&caller.tenant);
    let (total, next) = if parameters.values {
        let entries = store.list_values(filter, select, size, MAX_VALUES).await;
        let entries = counted(&caller, OperationKind::List, entries)?;
        push_items(&mut json, &entries.items, push_entry);
        (entries.total, entries.next_after)
    } else {
        let listing = counted(&caller, OperationKind::List, store.list(filter, select, size).await)?;
        push_items(&mut json, &listing.items, push_item);
        (listing.total, listing.next_after)
    };
    let _ = write!(json, "],\"total\":{total}");
    if by_page {
        let _ = write!(json, ",\"page\":{page}");
    }
    let _ = write!(json, ",\"page_size\":{size}");
    let next = next.map(|key| BASE64_URL_SAFE_NO_PAD.encode(key));
    if let Some(cursor) = &next {
        let _ = write!(json, ",\"next_cursor\":\"{cursor}\"");
    }
    json.push('}');
    let mut response = ([(header::CONTENT_TYPE, JSON)], caller.tenant.answer(json)).into_response();
    if let Some(link) = next.and_then(|cursor| link(&parameters, &cursor, size).parse().ok()) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

fn push_items<T>(json: &mut String, items: &[(String, T)], push: impl Fn(&mut String, &str, &T)) {
    for (index, (key, item)) in items.iter().enumerate() {
        json.push_str(if index > 0 { ",{" } else { "{" });
        push(json, key, item);
        json.push('}');
    }
}

#[utoipa::path(
    get,
    path = "/kv/stats/count",
    tag = "kv",
    operation_id = "count_entries",
    summary = "Count the keys",
    responses(
        (status = 200, description = "Without those that have expired", body = crate::routes::schemas::Count),
        (status = "default", response = crate::routes::schemas::Failed),
    ),
    security(("token" = ["kv:read"]), ("api_key" = ["kv:read"])),
)]
pub(crate) async fn count(caller: Caller) -> Result<Response, Problem> {
    caller.needs(Scope::KvRead)?;
    caller.principal.may_use("")?;
    let count = caller.tenant.store().count().await;
    let count = counted(&caller, OperationKind::Count, count)?;
    Ok(Json(json!({"count": count})).into_response())
}

/// RFC 8288: the next page, relative to this one.
fn link(parameters: &Parameters, cursor: &str, size: u64) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("cursor", cursor).append_pair("limit", &size.to_string());
    if !parameters.prefix.is_empty() {
        query.append_pair("prefix", &parameters.prefix);
    }
    for (tag, value) in &parameters.tags {
        query.append_pair("tag_filter", &format!("{tag}:{value}"));
    }
    if parameters.values {
        query.append_pair("values", "true");
    }
    if let Some(consistency) = parameters.from.as_str() {
        query.append_pair("consistency", consistency);
    }
    format!("<?{}>; rel=\"next\"", query.finish())
}

fn decode_cursor(cursor: &str) -> Result<String, Problem> {
    BASE64_URL_SAFE_NO_PAD
        .decode(cursor)
        .ok()
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| Problem::new(Code::Invalid, "cursor: take it from `next_cursor` of the page before"))
}
