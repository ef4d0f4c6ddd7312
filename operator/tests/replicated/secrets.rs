//! New passwords while clients write.

use crate::tenant::Tenant;

#[test]
fn passwords_change_without_a_failed_write() {
    let tenant = Tenant::settled(3);
    let writer = tenant.writer("rotated", 1);
    // Both are valid, then the new one is used, then the old one ends.
    for (step, (valid, used)) in
        [(&["1", "2"][..], "1"), (&["1", "2"], "2"), (&["2"], "2")].into_iter().enumerate()
    {
        tenant.secrets(valid, used);
        tenant.wait_for("every keeper made them known", |it| {
            let made = |member: &crate::tenant::Member| {
                member.log("sentinel.log").matches("Users and passwords were changed.").count()
            };
            it.members.iter().all(|member| made(member) > step)
        });
    }
    writer.goes_on(100);
    assert_eq!(tenant.settle(), 0);
    let account = writer.finish();
    assert!(account.failed.is_empty(), "{account:?}");
    tenant.check("rotated", &account);
    // The new ones serve for all that members do with each other.
    let writer = tenant.writer("after", 1);
    tenant.members[1].sentinel.as_ref().unwrap().signal("KILL");
    tenant.members[0].redis.as_ref().unwrap().signal("KILL");
    tenant.wait_for("another is named", |it| it.members[2].names() != Some(it.members[0].address.clone()));
    writer.goes_on(100);
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("after", &writer.finish()), 0);
}
