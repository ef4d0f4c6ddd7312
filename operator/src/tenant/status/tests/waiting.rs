//! What is said of one that waits until others have been restarted.

use super::*;

/// One that works, and is to be restarted when it is its turn.
fn waiting() -> Case {
    Case { settled: false, waits_for_turn: true, ..Case::new(true, true) }
}

fn ready(status: &TenantStatus) -> (&str, &str) {
    let ready = find(status, "Ready");
    (ready.status.as_str(), ready.message.as_str())
}

#[test]
fn nobody_is_alarmed_where_only_the_operator_is_another() {
    let before = Case::new(true, true).report(&TenantStatus::default(), 1);
    let status = waiting().report(&before, 2);
    assert_eq!(ready(&status), ("True", "the tenant is served; 10 other tenants are being changed"));
    assert_eq!(status.phase, Some(Phase::Updating));
    assert_eq!(find(&status, "Reconciling").status, "True");
    assert_eq!(ready(&waiting().report(&status, 3)).0, "True", "as long as it takes");
    let dead = Case { observed: observed(false, true), ..waiting() };
    assert_eq!(ready(&dead.report(&status, 4)).0, "False");
}

#[test]
fn who_has_changed_the_spec_is_told_that_it_is_not_carried_out_yet() {
    let mut before = Case::new(true, true).report(&TenantStatus::default(), 1);
    before.observed_generation = Some(2);
    for condition in &mut before.conditions {
        condition.observed_generation = Some(2);
    }
    let status = waiting().report(&before, 2);
    assert_eq!(ready(&status).0, "False");
    assert_eq!(ready(&waiting().report(&status, 3)).0, "False", "later as well");
}
