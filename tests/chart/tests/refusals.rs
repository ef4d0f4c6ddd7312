//! Values that cannot work are refused, each with a sentence that names the value.
#![allow(clippy::expect_used, reason = "a failed step ends the test")]

use keystead_chart::render;

#[track_caller]
fn refused(options: &[&str], sentence: &str) {
    let said = render(options).expect_err("these values cannot work");
    assert!(said.contains(sentence), "{sentence:?} is not in: {said}");
}

#[test]
fn values_that_do_not_exist_are_refused() {
    refused(&["--set", "gateway.replica=3"], "at '/gateway': additional properties 'replica' not allowed");
    refused(&["--set", "gateway.resources.request.cpu=1"], "additional properties 'request' not allowed");
}

#[test]
fn values_out_of_range_are_refused() {
    refused(&["--set", "operator.replicas=0"], "at '/operator/replicas': minimum: got 0, want 1");
    refused(
        &["--set", "gateway.service.port=70000"],
        "at '/gateway/service/port': maximum: got 70,000, want 65,535",
    );
    refused(&["--set", "gateway.issuers.ports={0}"], "at '/gateway/issuers/ports/0': minimum: got 0, want 1");
    refused(&["--set", "images.pullPolicy=Sometimes"], "at '/images/pullPolicy': value must be one of");
}

#[test]
fn a_version_without_quotes_is_refused() {
    refused(&["--set", "redis.defaultVersion=7"], "at '/redis/defaultVersion': got number, want string");
    refused(&["--set", "redis.images.8=x"], "at '/redis/images': additional properties '8' not allowed");
}

#[test]
fn a_default_version_without_an_image_is_refused_with_what_there_is() {
    refused(
        &["--set-string", "redis.defaultVersion=9.0"],
        "redis.defaultVersion \"9.0\" is not in redis.images: add its image there, or choose one of 7.0, 7.2, 7.4, 8.0",
    );
}

#[test]
fn an_autoscaler_that_contradicts_itself_is_refused() {
    refused(
        &["--set", "gateway.autoscaling.minReplicas=20"],
        "gateway.autoscaling.minReplicas (20) is above maxReplicas (10)",
    );
    refused(
        &["--set", "gateway.autoscaling.profile=Custom"],
        "gateway.autoscaling.profile is Custom without gateway.autoscaling.behavior",
    );
    refused(
        &["--set", "gateway.autoscaling.behavior.scaleUp.stabilizationWindowSeconds=1"],
        "the profile is not Custom",
    );
}

#[test]
fn external_metrics_have_one_server() {
    let both = "operator.externalMetrics.enabled=true,operator.externalMetrics.servedByAdapter=true";
    refused(&["--set", both], "one of them serves keystead_queue_depth");
    refused(&["--set", "operator.usageIntervalSeconds=1"], "minimum: got 1, want 5");
}

#[test]
fn an_upgrade_that_would_restart_nobody_is_refused() {
    refused(&["--set", "operator.maxConcurrentRollouts=0"], "minimum: got 0, want 1");
}

#[test]
fn a_certificate_without_a_host_is_refused() {
    refused(&["--set", "gateway.ingress.tlsSecretName=x"], "without gateway.ingress.host");
}

#[test]
fn a_sign_up_that_cannot_work_is_refused() {
    refused(
        &["--set", "gateway.signUp.maxTenants=0"],
        "at '/gateway/signUp/maxTenants': minimum: got 0, want 1",
    );
    refused(&["--set", "gateway.signUp.wait=121"], "at '/gateway/signUp/wait': maximum: got 121, want 120");
    refused(
        &["--set", "gateway.signUp.enabled=yes"],
        "at '/gateway/signUp/enabled': got string, want boolean",
    );
    refused(
        &["--set", "gateway.signUp.template=x"],
        "at '/gateway/signUp/template': got string, want object",
    );
    // A whole manifest.
    refused(
        &["--set", "gateway.signUp.template.spec.suspend=true"],
        "at '/gateway/signUp/template': additional properties 'spec' not allowed",
    );
}
