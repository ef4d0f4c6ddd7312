//! The recorder and the checks of the chaos suite, on a Redis that is killed: they find nothing where nothing was
//! lost, and they do find what was.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed step ends the test")]

mod client;

use client::two_gateways;
use keystead_chaos::{Judgement, Plan, Recorder, Round, Target, folder, judge};
use keystead_tests::{gateway::route, redis::Server};

/// Records while Redis is killed and revived three times; in between `meanwhile` has its way with it.
fn recorded(name: &str, meanwhile: fn(&mut Server)) -> Round {
    let mut redis = Server::durable();
    let ([one, other], [client, _]) = two_gateways(&route("acme", &redis.address()));
    let target = Target { gateways: vec![one.base(), other.base()], credential: client.token().to_owned() };
    let recorder = Recorder::start(&target, &Plan::of("k-"), &folder().join(format!("{name}.log")));
    recorder.await_acknowledged(300);
    let from = recorder.now();
    for _ in 0..3 {
        redis.kill();
        meanwhile(&mut redis);
        redis.revive();
        recorder.await_acknowledged(300);
    }
    let until = recorder.now();
    let recording = recorder.stop();
    let verdict = judge(&recording.registers, &folder().join(format!("{name}.history")));
    Round::of(name, &recording, from, until, verdict)
}

#[test]
fn a_redis_that_is_killed_and_has_written_all_to_disk_keeps_every_promise() {
    let round = recorded("standalone-killed", |_| ());
    assert_eq!(round.broken_promise(), None);
    assert!(round.acknowledged >= 1200, "{round:?}");
    assert!(round.linearizability.operations > 500, "{round:?}");
    // It was away: what failed is told, and by its code.
    assert!(round.failed.keys().any(|answer| answer.starts_with("503 ")), "{:?}", round.failed);
}

#[test]
fn a_redis_that_comes_back_empty_is_found_out() {
    let round = recorded("standalone-emptied", |redis| redis.empty());
    // Three times a few hundred, of which the counters are more than half; also those that were overwritten since.
    assert!((200..round.acknowledged).contains(&round.lost_writes()), "{round:?}");
    assert!(round.lost.iter().any(|lost| lost.because.contains("as version 1 after")), "{:?}", round.lost);
    assert_eq!(round.linearizability.verdict, Judgement::Violation);
    let violation = &round.linearizability.violations[0];
    let excerpt = violation["excerpt"].as_array().unwrap();
    assert!((1..20).contains(&excerpt.len()), "{violation:#}");
    assert!(round.broken_promise().unwrap().contains("acknowledged writes lost"));
}
