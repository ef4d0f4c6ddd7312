//! The API's description: it names every route of the documentation and no other, and a running gateway answers each of its
//! examples as it says.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{collections::BTreeSet, path::Path};

use client::{Answer, Client, code, owned, start_with};
use keystead_tests::{
    gateway::{Gateway, route},
    redis::Server,
};
use serde_json::{Value, json};

fn start_owned() -> (Server, Gateway, Client) {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    let gateway = start_with(&[route]);
    let admin = Client::with_api_key(&gateway, &admin);
    (server, gateway, admin)
}

fn document(client: &Client) -> Value {
    let document = client.get("/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    document
}

/// Method and path of every operation.
fn described(document: &Value) -> BTreeSet<(String, String)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().unwrap().keys();
        methods
            .filter(|name| *name != "servers")
            .map(|method| (method.clone(), path.clone()))
            .collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// Those of the table in docs/api.md.
fn documented() -> BTreeSet<(String, String)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/api.md")).unwrap();
    let mut found = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let first = row.split('|').nth(1).unwrap();
        let (mut method, mut path) = (String::new(), String::new());
        for term in first.split('`').skip(1).step_by(2) {
            match term.split_once(' ') {
                Some((with, of)) => (method, path) = (with.to_lowercase(), of.to_owned()),
                None if term.starts_with('/') => term.clone_into(&mut path),
                None => method = term.to_lowercase(),
            }
            // The base of all is named in the text.
            if path != "/api/v1" {
                found.insert((method.clone(), path.clone()));
            }
        }
    }
    found
}

#[test]
fn every_route_of_the_documentation_is_described_and_no_other() {
    let (_redis, gateway, admin) = start_owned();
    let mut documented = documented();
    // Other forms of what is described, for probes and by analogy.
    for path in ["/health", "/t/{tenant}/diag", "/t/{tenant}/peers", "/t/{tenant}/api/v1/health"] {
        assert!(documented.remove(&("get".to_owned(), path.to_owned())), "{path}");
    }
    assert!(documented.len() > 30, "{documented:?}");
    let described = described(&document(&admin));
    let difference: Vec<_> = described.symmetric_difference(&documented).collect();
    assert!(difference.is_empty(), "only in one of docs/api.md and /openapi.json: {difference:?}");

    let page = Client::anonymous(&gateway).get("/docs/");
    assert!(page.status == 200 && page.text().contains("swagger-ui"), "{}", page.text());
    let script = Client::anonymous(&gateway).get("/docs/swagger-ui-bundle.js");
    assert!(script.status == 200 && script.body.len() > 100_000, "the page needs nothing from elsewhere");
}

/// A document of an example, or none.
fn example(document: &Value, content: &Value) -> Option<Value> {
    let body = content.as_object()?.values().next()?;
    if let Some(example) = body.get("example") {
        return Some(example.clone());
    }
    schema(document, &body["schema"])?.get("example").cloned()
}

/// What a schema refers to.
fn schema<'a>(document: &'a Value, schema: &Value) -> Option<&'a Value> {
    // `Option<T>` is one of null and T.
    let name = schema["$ref"].as_str().or_else(|| schema["oneOf"][1]["$ref"].as_str())?;
    Some(&document["components"]["schemas"][name.rsplit('/').next()?])
}

/// Whether a schema lets its value be null; none: it may be anything.
fn is_nullable(schema: &Value) -> Option<bool> {
    match (&schema["type"], &schema["oneOf"]) {
        (Value::String(_), _) => Some(false),
        (Value::Array(types), _) => Some(types.contains(&json!("null"))),
        (_, Value::Array(some)) => Some(some.contains(&json!({"type": "null"}))),
        _ => schema.get("$ref").map(|_| false),
    }
}

/// Where an operation's example is sent.
fn url_of(operation: &Value, base: &str, path: &str, id: &str) -> String {
    let mut url = format!("{base}{}", path.replace("{id}", id));
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if let Some(value) = parameter["example"].as_str() {
            url = url.replace(&format!("{{{}}}", parameter["name"].as_str().unwrap()), value);
        }
    }
    assert!(!url.contains('{'), "{url} has a parameter without an example");
    url
}

/// Whether two documents have the same members of the same types; null stands for anything, and a user's own value and tags
/// are anything.
fn same_shape(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(left), Value::Object(right)) => {
            let is_users = |name: &str| name == "tags" || (name == "value" && left.contains_key("metadata"));
            left.len() == right.len()
                && left.iter().all(|(name, value)| {
                    right.get(name).is_some_and(|other| is_users(name) || same_shape(value, other))
                })
        }
        (Value::Array(left), Value::Array(right)) => {
            left.iter().zip(right).all(|(left, right)| same_shape(left, right))
        }
        (left, right) => std::mem::discriminant(left) == std::mem::discriminant(right),
    }
}

/// What must be there for an operation to succeed; gives the id that its path needs, and another body.
fn prepare(admin: &Client, user: &Client, operation: &str) -> (String, Option<Value>) {
    let entry = json!({"value": {"hello": "world"}, "ttl": 600, "tags": {"lang": "en"}});
    admin.put("/api/v1/kv/greeting", &entry);
    admin.delete("/api/v1/kv/counter");
    let made =
        |path: &str, body: &Value| admin.post(path, body).json()["id"].as_str().expect("an id").to_owned();
    match operation {
        "revoke_api_key" | "rotate_api_key" => {
            (made("/api/v1/auth/api-keys", &json!({"name": "k", "scopes": ["kv:read"]})), None)
        }
        "read_job" | "cancel_job" | "retry_job" | "read_job_result" => {
            let body = json!({"kind": "kv.export", "payload": {"prefix": "greet"}, "delay": 60});
            let id = made("/api/v1/jobs", &body);
            if operation == "retry_job" {
                admin.delete(&format!("/api/v1/jobs/{id}"));
            }
            (id, None)
        }
        "read_schedule" | "delete_schedule" => {
            admin.put(
                "/api/v1/jobs/schedules/nightly",
                &json!({"cron": "0 3 * * *", "kind": "kv.export", "payload": {"prefix": "greet"}}),
            );
            (String::new(), None)
        }
        "refresh" => {
            let login = json!({"tenant": "acme", "username": "ada", "password": "Correct-horse-7"});
            let tokens = user.post("/api/v1/auth/login", &login).json();
            (String::new(), Some(json!({"refresh_token": tokens["refresh_token"]})))
        }
        _ => (String::new(), None),
    }
}

#[test]
fn every_example_is_answered_as_described() {
    let (_redis, gateway, admin) = start_owned();
    let user = Client::registered(&gateway, "acme");
    let document = document(&admin);
    let mut sent = 0;
    for (method, path) in described(&document) {
        let operation = &document["paths"][&path][&method];
        let name = operation["operationId"].as_str().unwrap();
        // An answer that does not end; its test is in watch.rs.
        if name == "watch" {
            continue;
        }
        let (id, other_body) = prepare(&admin, &user, name);
        let base = if path.starts_with("/t/") { "" } else { "/api/v1" };
        let url = url_of(operation, base, &path, &id);
        let content = &operation["requestBody"]["content"];
        let body = other_body.or_else(|| example(&document, content));
        let content_type = content.as_object().and_then(|content| content.keys().next().cloned());
        // Who has every scope, where one is needed at all.
        let is_open = operation["security"] == json!([{}]);
        let caller = if is_open { Client::anonymous(&gateway) } else { admin.clone() };
        let answer = match &body {
            None => caller.raw(&method.to_uppercase(), &url, &[], b""),
            Some(body) => {
                let headers = [("Content-Type", content_type.as_deref().unwrap_or("application/json"))];
                caller.raw(&method.to_uppercase(), &url, &headers, body.to_string().as_bytes())
            }
        };
        check(&document, operation, &method, &answer);
        sent += 1;
    }
    assert!(sent > 30, "{sent} operations");
}

#[test]
fn a_field_may_be_null_where_the_description_says_so_and_nowhere_else() {
    let (_redis, gateway, admin) = start_owned();
    let user = Client::registered(&gateway, "acme");
    let document = document(&admin);
    let (mut taken, mut refused) = (0, 0);
    for (method, path) in described(&document) {
        let operation = &document["paths"][&path][&method];
        let content = &operation["requestBody"]["content"];
        let whole = &content["application/json"]["schema"];
        let (Some(schema), Some(body)) = (schema(&document, whole), example(&document, content)) else {
            continue;
        };
        let (id, _) = prepare(&admin, &user, operation["operationId"].as_str().unwrap());
        // The path names the tenant, so that no field has to.
        let url = url_of(operation, "/t/acme/api/v1", &path, &id);
        let is_open = operation["security"] == json!([{}]);
        let caller = if is_open { Client::anonymous(&gateway) } else { admin.clone() };
        let send = |body: &Value| {
            let headers = [("Content-Type", "application/json")];
            caller.raw(&method.to_uppercase(), &url, &headers, body.to_string().as_bytes())
        };
        if whole.get("oneOf").is_some() {
            assert!(send(&Value::Null).status < 300, "{url}: a body of null is as none");
        }
        for (field, of_field) in schema["properties"].as_object().unwrap() {
            let mut body = body.clone();
            body[field] = Value::Null;
            let answer = send(&body);
            // A second account or key of the same name is refused for that.
            let is_taken = answer.status < 300 || answer.status == 409;
            match is_nullable(of_field) {
                Some(true) => assert!(is_taken, "{url}: {field} may be null, says {of_field}: {answer:?}"),
                Some(false) => assert_eq!(code(&answer), (422, "invalid".into()), "{url}: {field}"),
                None => continue,
            }
            if is_taken { taken += 1 } else { refused += 1 }
        }
    }
    assert!(taken > 10 && refused > 10, "{taken} taken, {refused} refused");
    let item = json!({"op": null, "key": "a", "value": 1, "ttl": null, "tags": null});
    let batch = admin.post("/api/v1/kv/batch", &json!({"items": [item]})).json();
    assert_eq!(batch["items"][0]["status"], json!(201), "{batch}");
}

fn check(document: &Value, operation: &Value, method: &str, answer: &Answer) {
    let name = operation["operationId"].as_str().unwrap();
    let responses = operation["responses"].as_object().unwrap();
    assert!(responses.contains_key("default"), "{name} says nothing of errors");
    let Some(described) = responses.get(&answer.status.to_string()) else {
        // No worker runs here, so no job has left anything.
        assert_eq!((name, answer.status), ("read_job_result", 404), "{}", answer.text());
        let problem = &document["components"]["schemas"]["Problem"]["example"];
        assert!(same_shape(problem, &answer.json()), "{}", answer.text());
        code(answer);
        return;
    };
    assert!((200..300).contains(&answer.status), "{name}: {}", answer.text());
    if method == "head" || answer.status == 204 {
        assert!(answer.body.is_empty(), "{name}");
    } else if let Some(expected) = example(document, &described["content"]) {
        // Of a batch, items of other operations have other members.
        let (expected, found) = match name {
            "batch" => (expected["items"][0].clone(), answer.json()["items"][0].clone()),
            _ => (expected, answer.json()),
        };
        let found = if name == "rotate_api_key" || name == "list_entries" { trimmed(found) } else { found };
        let expected = if name == "list_entries" { trimmed(expected) } else { expected };
        assert!(same_shape(&expected, &found), "{name} answers {found}, and is described as {expected}");
    }
}

/// Without what is there at times only, and one item of a list.
fn trimmed(mut document: Value) -> Value {
    if let Some(members) = document.as_object_mut() {
        members.remove("next_cursor");
        if let Some(items) = members.get_mut("items").and_then(Value::as_array_mut) {
            items.truncate(1);
        }
    }
    document
}
