//! `examples/rest` against a real gateway.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use std::{path::Path, process::Command};

use client::{owned, start_with};
use keystead_tests::{gateway::route, redis::Server};

fn run(command: &mut Command) -> String {
    let done = command.output().expect("it starts");
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?} failed:\n{out}\n{said}");
    out
}

#[test]
fn the_tour_and_the_client_do_what_they_show() {
    let server = Server::start();
    let mut route = route("acme", &server.address());
    let admin = owned(&mut route);
    let gateway = start_with(&[route]);
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/rest");

    let mut tour = Command::new("sh");
    tour.arg(examples.join("tour.sh")).env("KEYSTEAD_URL", gateway.base()).env("KEYSTEAD_TENANT", "acme");
    let out = run(&mut tour);
    for shown in [
        r#""value":{"hello":"world"}"#,
        r#""value":{"hello":"world","lang":"en"}"#,
        "\nnot JSON\n",
        "{\"value\":5}\n{\"value\":5}\n",
        r#""op":"delete","status":404"#,
        r#""status":"scheduled""#,
        "\ndone\n",
    ] {
        assert!(out.contains(shown), "{shown} is not in\n{out}");
    }

    let mut client = Command::new("python3");
    client
        .arg(examples.join("client.py"))
        .env("KEYSTEAD_URL", gateway.base())
        .env("KEYSTEAD_API_KEY", &admin);
    let out = run(&mut client);
    for shown in [
        "read back: {'n': 1} nothing",
        "counted: 5",
        "keys: ['demo/0', 'demo/1', 'demo/2', 'demo/a b', 'demo/counter']",
        "deleted: True False",
        "told of: put demo/watched",
    ] {
        assert!(out.contains(shown), "{shown} is not in\n{out}");
    }
}
