//! Changes, batches and lists of keys, on a real gateway process and a real Redis.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::{Answer, Client, code, eventually, start, start_with};
use keystead_tests::{gateway::route, redis::Server};
use serde_json::{Value, json};

const MERGE_PATCH: &[(&str, &str)] = &[("Content-Type", "application/merge-patch+json")];

fn patch(client: &Client, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    client.raw("PATCH", path, &[MERGE_PATCH, headers].concat(), body.as_bytes())
}

#[test]
fn a_patch_changes_what_it_names_and_keeps_the_rest() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let made = client.raw(
        "PUT",
        "/api/v1/kv/doc",
        &[("Content-Type", "application/json")],
        br#"{"value":{"n":123456789012345678901,"a":{"b":1,"c":2}},"ttl":600,"tags":{"t":"v"}}"#,
    );
    assert_eq!(made.status, 201, "{made:?}");
    let patched = patch(&client, "/api/v1/kv/doc", &[], r#"{"a":{"b":null,"d":[3]},"new":true}"#);
    assert_eq!(patched.status, 200, "{patched:?}");
    assert!(
        patched.text().contains(r#""value":{"n":123456789012345678901,"a":{"c":2,"d":[3]},"new":true}"#),
        "{}",
        patched.text()
    );
    let metadata = &patched.json()["metadata"];
    assert_eq!((&metadata["version"], &metadata["tags"]), (&json!(2), &json!({"t": "v"})));
    assert!((590..=600).contains(&metadata["ttl"].as_u64().unwrap()), "the time to live goes on: {metadata}");
    assert_eq!(patched.header("etag"), client.get("/api/v1/kv/doc").header("etag"));
    // By its tag it is found as before.
    assert_eq!(client.get("/api/v1/kv?tag_filter=t:v").json()["total"], 1);

    let stale = patch(&client, "/api/v1/kv/doc", &[("If-Match", &made.header("etag"))], "{}");
    assert_eq!(code(&stale), (412, "condition_failed".into()));
    let fresh = patch(&client, "/api/v1/kv/doc", &[("If-Match", &patched.header("etag"))], r#"{"n":1}"#);
    assert_eq!(fresh.status, 200, "{fresh:?}");

    assert_eq!(code(&patch(&client, "/api/v1/kv/absent", &[], "{}")), (404, "key_not_found".into()));
    client.raw("PUT", "/api/v1/kv/raw", &[("Content-Type", "text/plain")], b"{}");
    assert_eq!(code(&patch(&client, "/api/v1/kv/raw", &[], "{}")), (409, "not_json".into()));
    assert_eq!(code(&patch(&client, "/api/v1/kv/doc", &[], "{\"a\":")), (400, "bad_request".into()));
    let deep = "{\"a\":".repeat(5000) + "1" + &"}".repeat(5000);
    assert_eq!(code(&patch(&client, "/api/v1/kv/doc", &[], &deep)), (422, "invalid".into()));
    let plain = client.raw("PATCH", "/api/v1/kv/doc", &[("Content-Type", "application/json")], b"{}");
    assert_eq!(code(&plain), (415, "wrong_content_type".into()));
}

#[test]
fn patches_of_many_at_once_are_all_kept() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    client.put("/api/v1/kv/doc", &json!({"value": {}}));
    std::thread::scope(|scope| {
        for at in 0..4 {
            let client = &client;
            scope.spawn(move || {
                for step in 0..5 {
                    let change = format!("{{\"k{at}-{step}\":1}}");
                    assert_eq!(patch(client, "/api/v1/kv/doc", &[], &change).status, 200);
                }
            });
        }
    });
    let value = client.get("/api/v1/kv/doc").json();
    assert_eq!(value["value"].as_object().unwrap().len(), 20, "{value}");
    assert_eq!(value["metadata"]["version"], 21);

    // Any state will do, so that a write in between is no reason to refuse; a named state holds for one of them.
    let etag = client.get("/api/v1/kv/doc").header("etag");
    let patched = |condition: &str| {
        std::thread::scope(|scope| {
            let patches: Vec<_> = (0..8)
                .map(|at| {
                    let (client, change) = (&client, format!("{{\"c{at}\":1}}"));
                    scope.spawn(move || {
                        patch(client, "/api/v1/kv/doc", &[("If-Match", condition)], &change).status
                    })
                })
                .collect();
            let mut statuses: Vec<u16> = patches.into_iter().map(|patch| patch.join().unwrap()).collect();
            statuses.sort_unstable();
            statuses
        })
    };
    assert_eq!(patched(&etag), [200, 412, 412, 412, 412, 412, 412, 412]);
    for _ in 0..5 {
        assert_eq!(patched("*"), [200; 8]);
    }
}

#[test]
fn a_number_is_added_to() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let empty = client.raw("POST", "/api/v1/kv/hits/incr", &[], b"");
    assert_eq!((empty.status, empty.json()), (200, json!({"value": 1})), "{empty:?}");
    let more = client.post("/t/acme/api/v1/kv/hits/incr", &json!({"by": -11}));
    assert_eq!(more.json(), json!({"value": -10}));
    let entry = client.get("/api/v1/kv/hits");
    assert_eq!((&entry.json()["value"], entry.header("etag")), (&json!(-10), more.header("etag")));

    client.put("/api/v1/kv/text", &json!({"value": "ten"}));
    assert_eq!(code(&client.post("/api/v1/kv/text/incr", &json!({}))), (409, "not_a_number".into()));
    client.put("/api/v1/kv/large", &json!({"value": 9_007_199_254_740_991_u64}));
    assert_eq!(code(&client.post("/api/v1/kv/large/incr", &json!({}))), (409, "number_too_large".into()));
    client.put("/api/v1/kv/large", &json!({"value": 9_007_199_254_740_993_u64}));
    let down = client.post("/api/v1/kv/large/incr", &json!({"by": -5}));
    assert_eq!(code(&down), (409, "number_too_large".into()));
    for by in [json!({"by": 1.5}), json!({"by": "1"}), json!({"to": 1}), json!({"by": 1_u64 << 60})] {
        assert_eq!(code(&client.post("/api/v1/kv/hits/incr", &by)), (422, "invalid".into()), "{by}");
    }
}

#[test]
fn a_time_to_live_is_set_and_taken_away() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let made = client.put("/api/v1/kv/k", &json!({"value": 1}));
    assert_eq!(client.put("/api/v1/kv/k/ttl", &json!({"ttl": 100})).json(), json!({"ttl": 100}));
    let left = client.get("/api/v1/kv/k/ttl").json()["ttl"].as_i64().unwrap();
    assert!((98..=100).contains(&left), "{left}");
    let entry = client.get("/api/v1/kv/k");
    assert_eq!(entry.header("etag"), made.header("etag"), "the entry itself is not written");
    assert!(entry.json()["metadata"]["ttl"].as_i64().unwrap() >= 98);
    assert_eq!(client.delete("/api/v1/kv/k/ttl").json(), json!({"ttl": -1}));
    assert_eq!(client.get("/api/v1/kv/k").json()["metadata"]["ttl"], Value::Null);
    assert_eq!(client.put("/api/v1/kv/k/ttl", &json!({"ttl": null})).json(), json!({"ttl": -1}));

    client.put("/api/v1/kv/k/ttl", &json!({"ttl": 1}));
    eventually(|| (client.get("/api/v1/kv/k").status == 404).then_some(()));
    assert_eq!(client.get("/api/v1/kv/stats/count").json(), json!({"count": 0}));
    for absent in [client.put("/api/v1/kv/k/ttl", &json!({"ttl": 1})), client.delete("/api/v1/kv/k/ttl")] {
        assert_eq!(code(&absent), (404, "key_not_found".into()));
    }
    for wrong in [json!({}), json!({"ttl": -1}), json!({"ttl": "1"}), json!({"ttl": 315_360_001})] {
        assert_eq!(code(&client.put("/api/v1/kv/k/ttl", &wrong)), (422, "invalid".into()), "{wrong}");
    }
}

#[test]
fn a_batch_gives_each_item_its_own_result() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let batch = client.post(
        "/api/v1/kv/batch",
        &json!({"items": [
            {"key": "a", "value": 1, "tags": {"t": "v"}, "ttl": 60},
            {"op": "get", "key": "a"},
            {"op": "put", "key": "a", "value": [2]},
            {"op": "delete", "key": "a"},
            {"op": "get", "key": "a"},
            {"op": "delete", "key": "a"},
            {"op": "put", "key": ""},
            {"op": "put", "key": "b"},
            {"op": "get", "key": "b", "value": 1},
            {"op": "put", "key": "c", "value": "x".repeat(2_100_000)},
            {"op": "put", "key": "d", "value": null},
        ]}),
    );
    assert_eq!(batch.status, 200, "{}", batch.text());
    let items = batch.json()["items"].as_array().unwrap().clone();
    let statuses: Vec<u64> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 200, 200, 200, 404, 404, 422, 422, 422, 413, 201], "{items:?}");
    assert_eq!((&items[0]["op"], &items[0]["metadata"]["tags"]), (&json!("put"), &json!({"t": "v"})));
    assert_eq!((&items[1]["value"], &items[1]["metadata"]["version"]), (&json!(1), &json!(1)));
    assert_eq!(items[2]["metadata"]["version"], 2);
    assert_eq!(items[4]["error"]["code"], "key_not_found");
    assert!(items[9]["error"]["detail"].as_str().unwrap().contains("2100002 bytes"), "{}", items[9]["error"]);
    assert_eq!(client.get("/api/v1/kv/d").json()["value"], Value::Null);

    assert_eq!(client.post("/api/v1/kv/batch", &json!({"items": []})).json(), json!({"items": []}));
    let many: Vec<Value> = (0..1001).map(|at| json!({"op": "get", "key": at.to_string()})).collect();
    assert_eq!(code(&client.post("/api/v1/kv/batch", &json!({"items": many}))), (422, "invalid".into()));
    assert_eq!(client.post("/api/v1/kv/batch", &json!({"items": many[1..]})).status, 200);
    let wrong = client.post("/api/v1/kv/batch", &json!({"items": [{"op": "swap", "key": "a"}]}));
    assert_eq!(code(&wrong), (422, "invalid".into()));
}

#[test]
fn a_list_is_filtered_by_tags_and_shows_values() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let items: Vec<Value> = (0..30)
        .map(|at| {
            let (colour, size) = (["red", "blue"][at % 2], ["1", "2", "3"][at % 3]);
            let tags = json!({"colour": colour, "size: s": size});
            json!({"key": format!("k{at:02}"), "value": {"n": at}, "tags": tags})
        })
        .collect();
    // A name with a colon could not be asked for.
    let refused = client.post("/api/v1/kv/batch", &json!({"items": items})).json();
    assert!(refused["items"].as_array().unwrap().iter().all(|item| item["status"] == 422));
    let text = json!({"items": items}).to_string().replace("size: s", "size");
    let made =
        client.raw("POST", "/api/v1/kv/batch", &[("Content-Type", "application/json")], text.as_bytes());
    assert_eq!(made.status, 200);

    let both = client.get("/api/v1/kv?tag_filter=colour:red&tag_filter=size:1&page=2&page_size=2").json();
    assert_eq!((&both["total"], &both["page"]), (&json!(5), &json!(2)), "{both}");
    let keys = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap();
        items.iter().map(|item| item["key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(&both), ["k12", "k18"]);
    let prefixed = client.get("/api/v1/kv?prefix=k1&tag_filter=colour:blue").json();
    assert_eq!(keys(&prefixed), ["k11", "k13", "k15", "k17", "k19"]);

    // By cursor, with the header's link as the only guide.
    let mut path = "?limit=4&values=true&tag_filter=colour:red".to_owned();
    let mut seen = Vec::new();
    loop {
        let part = client.get(&format!("/api/v1/kv{path}"));
        assert_eq!(part.status, 200, "{}", part.text());
        assert_eq!(part.json()["total"], 15);
        for item in part.json()["items"].as_array().unwrap() {
            seen.push(item["value"]["n"].as_u64().unwrap());
        }
        let link = part.header("link");
        assert_eq!(link.is_empty(), part.json().get("next_cursor").is_none());
        let Some(next) = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")) else {
            break;
        };
        path = next.to_owned();
    }
    assert_eq!(seen, (0..30).step_by(2).collect::<Vec<u64>>());

    for wrong in [
        "tag_filter=colour",
        "values=yes",
        "values=true&page=1",
        "page=1&cursor=YQ",
        "page=0",
        "limit=1001",
        "cursor=%00",
        "pagesize=3",
        "tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b&tag_filter=a:b",
    ] {
        assert_eq!(code(&client.get(&format!("/api/v1/kv?{wrong}"))), (422, "invalid".into()), "{wrong}");
    }
}

#[test]
fn a_list_with_large_values_comes_in_parts() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    for at in 0..20 {
        let value = json!({"value": "x".repeat(1_000_000)});
        assert_eq!(client.put(&format!("/api/v1/kv/{at:02}"), &value).status, 201);
    }
    let (mut path, mut seen, mut parts) = ("?limit=1000&values=true".to_owned(), Vec::new(), 0);
    loop {
        let part = client.get(&format!("/api/v1/kv{path}")).json();
        parts += 1;
        for item in part["items"].as_array().unwrap() {
            assert_eq!(item["value"].as_str().unwrap().len(), 1_000_000);
            seen.push(item["key"].as_str().unwrap().parse::<u64>().unwrap());
        }
        let Some(cursor) = part["next_cursor"].as_str() else { break };
        path = format!("?limit=1000&values=true&cursor={cursor}");
    }
    assert_eq!(seen, (0..20).collect::<Vec<u64>>());
    assert!(parts > 1, "none of them holds all");
}

#[test]
fn what_is_read_as_bytes_says_what_a_write_of_them_takes() {
    let (_redis, gateway) = start(&["acme"]);
    let client = Client::registered(&gateway, "acme");
    let written = [("Content-Type", "image/png"), ("X-TTL", "600"), ("X-Tags", "size=big,colour=red")];
    assert_eq!(client.raw("PUT", "/api/v1/kv/image", &written, b"\x89PNG").status, 201);
    let bytes = |path: &str| client.raw("GET", path, &[("Accept", "application/octet-stream")], b"");
    let read = bytes("/api/v1/kv/image");
    let head = client.raw("HEAD", "/api/v1/kv/image", &[], b"");
    let head_of_path = client.raw("HEAD", "/t/acme/api/v1/kv/image", &[], b"");
    for answer in [&read, &head, &head_of_path] {
        assert_eq!(answer.header("x-tags"), "colour=red, size=big");
        let left: u64 = answer.header("x-ttl").parse().unwrap();
        assert!((590..=600).contains(&left), "{left}");
    }
    let json = client.get("/api/v1/kv/image");
    assert_eq!([json.header("x-ttl"), json.header("x-tags")], ["", ""], "the body says it");

    let names = ["content-type", "x-ttl", "x-tags"];
    let told = names.map(|name| (name, read.header(name)));
    let headers = told.each_ref().map(|(name, value)| (*name, value.as_str()));
    assert_eq!(client.raw("PUT", "/api/v1/kv/copy", &headers, &read.body).status, 201);
    let copy = bytes("/api/v1/kv/copy");
    assert_eq!((copy.body.as_slice(), copy.header("content-type")), (&b"\x89PNG"[..], "image/png".into()));
    assert_eq!(copy.header("x-tags"), read.header("x-tags"));
    assert!(copy.header("x-ttl").parse::<u64>().unwrap() <= 600);

    // 0 is for ever. What has no tags, or one that the header cannot hold, says nothing of them.
    for (key, tags) in [("bare", json!({})), ("odd", json!({"colour": "red", "size": "1,2"}))] {
        client.put(&format!("/api/v1/kv/{key}"), &json!({"value": 1, "ttl": null, "tags": tags}));
        let answer = bytes(&format!("/api/v1/kv/{key}"));
        assert_eq!(
            (answer.status, answer.header("x-ttl"), answer.header("x-tags")),
            (200, "0".into(), String::new())
        );
    }
}

#[test]
fn a_tenant_has_no_more_keys_than_it_may() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    route.limits.max_keys = Some(3);
    let gateway = start_with(&[route]);
    let client = Client::registered(&gateway, "acme");
    client.put("/api/v1/kv/brief", &json!({"value": 1, "ttl": 10}));
    client.post("/api/v1/kv", &json!({"key": "a", "value": 1}));
    client.post("/api/v1/kv/n/incr", &json!({}));
    let too_many = (507, "too_many_keys".to_owned());
    let refused = client.put("/api/v1/kv/b", &json!({"value": 1}));
    assert_eq!(code(&refused), too_many);
    assert!(refused.json()["detail"].as_str().unwrap().contains("spec.limits.maxKeys"));
    assert_eq!(code(&client.post("/api/v1/kv", &json!({"key": "b", "value": 1}))), too_many);
    assert_eq!(code(&client.post("/api/v1/kv/m/incr", &json!({}))), too_many);
    let batch = json!({"items": [{"key": "b", "value": 1}, {"key": "a", "value": 2}]});
    let items = client.post("/api/v1/kv/batch", &batch).json()["items"].clone();
    assert_eq!((&items[0]["status"], &items[1]["status"]), (&json!(507), &json!(200)));
    // What is there may change, and what has expired makes room, swept or not.
    assert_eq!(client.put("/api/v1/kv/a", &json!({"value": 3})).status, 200);
    assert_eq!(client.post("/api/v1/kv/n/incr", &json!({})).json()["value"], json!(2));
    eventually(|| (client.put("/api/v1/kv/b", &json!({"value": 1})).status == 201).then_some(()));
    assert_eq!(client.get("/api/v1/kv/stats/count").json(), json!({"count": 3}));
    client.delete("/api/v1/kv/a");
    assert_eq!(client.put("/api/v1/kv/c", &json!({"value": 1})).status, 201);
}
