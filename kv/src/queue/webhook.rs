//! The payload of `webhook`: a request to somebody else. What of it is fixed, or would say something else than the signature, is
//! refused.

use std::collections::BTreeMap;

use keystead_route::WebhookUrl;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Most headers of one's own.
const MAX_HEADERS: usize = 32;
const MAX_HEADER_BYTES: usize = 4096;
const METHODS: [&str; 5] = ["POST", "PUT", "PATCH", "DELETE", "GET"];
/// Those that the connection or the signature decides. `webhook-` begins further ones.
const OURS: [&str; 10] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
const CONTENT_TYPE: &str = "content-type";
const JSON: &str = "application/json";

/// A request, checked.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Webhook {
    pub url: WebhookUrl,
    pub method: String,
    /// By name in lower case; `content-type` where there is a body.
    pub headers: BTreeMap<String, String>,
    /// Empty: none.
    pub body: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<Box<RawValue>>,
}

impl TryFrom<Fields> for Webhook {
    type Error = String;

    fn try_from(fields: Fields) -> Result<Self, String> {
        let url = fields.url.parse().map_err(|error: keystead_route::InvalidWebhookUrl| error.to_string())?;
        let method = fields.method.as_deref().unwrap_or("POST");
        let method = METHODS.into_iter().find(|known| *known == method).map(str::to_owned);
        let method = method.ok_or_else(|| format!("method: one of {}", METHODS.join(", ")))?;
        if fields.headers.len() > MAX_HEADERS {
            return Err(format!("headers: at most {MAX_HEADERS}"));
        }
        let mut headers = BTreeMap::new();
        for (name, value) in fields.headers {
            let name = header(&name, &value)?;
            if headers.insert(name.clone(), value).is_some() {
                return Err(format!("headers: {name} is there twice"));
            }
        }
        let body = fields.body.as_deref().map(|body| text(body, &mut headers)).transpose()?;
        Ok(Self { url, method, headers, body: body.unwrap_or_default() })
    }
}

/// The name of a header in lower case (RFC 9110, section 5).
fn header(name: &str, value: &str) -> Result<String, String> {
    let name = name.to_ascii_lowercase();
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_of_token) {
        return Err(format!("headers: {name:?} is no name of a header"));
    }
    if OURS.contains(&name.as_str()) || name.starts_with("webhook-") || name.starts_with("proxy-") {
        return Err(format!("headers: {name} is not yours to choose"));
    }
    if value.len() > MAX_HEADER_BYTES || !value.bytes().all(|byte| (0x20..=0x7e).contains(&byte)) {
        return Err(format!("headers, {name}: at most {MAX_HEADER_BYTES} printable ASCII characters"));
    }
    Ok(name)
}

/// What is sent: the JSON as it is written, or, of another content type, the text of a string.
fn text(body: &RawValue, headers: &mut BTreeMap<String, String>) -> Result<String, String> {
    let content_type = headers.entry(CONTENT_TYPE.into()).or_insert_with(|| JSON.into());
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    if media_type == JSON || media_type.ends_with("+json") {
        return Ok(body.get().to_owned());
    }
    serde_json::from_str(body.get())
        .map_err(|_| format!("body: a string, as `headers` has {CONTENT_TYPE} {content_type}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Webhook, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_body_is_sent_as_it_is_written() {
        let webhook = read(r#"{"url":"https://a/b","body":{"n": 1.0}}"#).unwrap();
        assert_eq!((webhook.method.as_str(), webhook.body.as_str()), ("POST", r#"{"n": 1.0}"#));
        assert_eq!(webhook.headers, [("content-type".to_owned(), JSON.to_owned())].into());
        let webhook = read(r#"{"url":"https://a","headers":{"Content-Type":"text/plain"},"body":"a\nb"}"#);
        assert_eq!(webhook.unwrap().body, "a\nb");
        let webhook = read(r#"{"url":"https://a","method":"GET","headers":{"X-Shop":"1"}}"#).unwrap();
        assert_eq!((webhook.body.as_str(), webhook.headers.len()), ("", 1));
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_what_can() {
        for (wrong, says) in [
            (r#"{"url":"a"}"#, "url: an https or http URL"),
            (r#"{"url":"https://a","method":"post"}"#, "method: one of POST, PUT, PATCH, DELETE, GET"),
            (r#"{"url":"https://a","headers":{"Host":"b"}}"#, "headers: host is not yours to choose"),
            (
                r#"{"url":"https://a","headers":{"Webhook-Signature":"b"}}"#,
                "headers: webhook-signature is not yours to choose",
            ),
            (r#"{"url":"https://a","headers":{"a b":"b"}}"#, "headers: \"a b\" is no name of a header"),
            (
                r#"{"url":"https://a","headers":{"a":"b\r\nc: d"}}"#,
                "headers, a: at most 4096 printable ASCII",
            ),
            (r#"{"url":"https://a","headers":{"a":"b","A":"c"}}"#, "headers: a is there twice"),
            (
                r#"{"url":"https://a","headers":{"content-type":"text/plain"},"body":{}}"#,
                "body: a string, as `headers` has content-type text/plain",
            ),
            (r#"{"url":"https://a","boddy":1}"#, "unknown field `boddy`"),
            ("{}", "missing field `url`"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(says), "{wrong}: {error}");
        }
    }
}
