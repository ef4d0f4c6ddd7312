//! New passwords while clients write.

use crate::tenant::{Member, Tenant};

#[test]
fn passwords_change_without_a_failed_write() {
    let tenant = Tenant::formed(3, 1);
    let writer = tenant.writer("rotated", 1);
    // Both are valid, then the new one is used, then the old one ends.
    for (step, (valid, used)) in
        [(&["1", "2"][..], "1"), (&["1", "2"], "2"), (&["2"], "2")].into_iter().enumerate()
    {
        tenant.secrets(valid, used);
        tenant.wait_for("every keeper made them known", |it| {
            let made = |member: &Member| member.log().matches("Users and passwords were changed.").count();
            it.members.iter().all(|member| made(member) > step)
        });
    }
    writer.goes_on(300);
    tenant.settle();
    let account = writer.finish();
    assert!(account.failed.is_empty(), "{account:?}");
    tenant.check("rotated", &account);
    // The new ones serve for all that members do with each other.
    let writer = tenant.writer("after", 1);
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].signal("KILL");
    tenant.wait_for("the other is the primary", |it| it.primaries().contains(&replica));
    writer.goes_on(300);
    tenant.check("after", &writer.finish());
    tenant.reshape(3);
}
