//! Members that speak TLS: as the others, and with certificates that change while clients write.

use keystead_operator::tenant::certificates::{Change, Names};

use crate::{
    certificates::Certificates,
    tenant::{Member, Tenant},
};

fn formed() -> (Tenant, Certificates) {
    let (mut tenant, certificates) = Tenant::secured(3, 1);
    tenant.form();
    (tenant, certificates)
}

/// Waits until every Redis has taken up so many certificates after its first.
fn until_taken_up(tenant: &Tenant, times: usize) {
    tenant.wait_for("the certificate is taken up", |it| {
        it.members.iter().all(|member| member.log().matches("The certificate was changed.").count() >= times)
    });
    tenant.settle();
}

#[test]
fn a_tenant_forms_fails_over_hands_over_and_grows_by_tls() {
    let (mut tenant, mut certificates) = formed();
    for member in &tenant.members {
        assert!(member.probe("ready.sh") && member.probe("alive.sh"), "{}", tenant.logs());
        member.assert_refuses_plain();
    }
    let filled = tenant.fill();
    let writer = tenant.writer("killed", 1);
    writer.goes_on(100);
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].signal("KILL");
    tenant.wait_for("the other is the primary", |it| it.primaries().contains(&replica));
    writer.goes_on(100);
    assert_eq!(tenant.settle()[0], replica);
    tenant.check("killed", &writer.finish());

    let writer = tenant.writer("handed-over", 0);
    writer.goes_on(100);
    let place = tenant.settle()[1];
    tenant.members[place].end();
    assert!(tenant.members[place].log().contains("Handed over to"), "{}", tenant.logs());
    tenant.members[place].start();
    writer.goes_on(100);
    assert_ne!(tenant.settle()[1], place);
    tenant.check("handed over", &writer.finish());

    // The certificate names the new ones before they start.
    let writer = tenant.writer("grown", 1);
    tenant.add_shard();
    let addresses = tenant.addresses();
    certificates.names = Names::of(&"shop".parse().unwrap(), addresses.iter().map(String::as_str));
    certificates.change(Change::Issue);
    tenant.mount(&certificates);
    tenant.members[6..].iter_mut().for_each(Member::start);
    tenant.reshape(4);
    tenant.settle();
    writer.goes_on(100);
    tenant.check("grown", &filled);
    tenant.reshape(3);
    tenant.remove_shard();
    tenant.check("shrunk", &filled);
    tenant.check("written meanwhile", &writer.finish());
}

#[test]
fn certificates_and_who_signs_them_change_without_a_failed_write() {
    let (tenant, mut certificates) = formed();
    let writer = tenant.writer("certified", 1);
    certificates.change(Change::Issue);
    tenant.mount(&certificates);
    until_taken_up(&tenant, 1);
    certificates.take_authority();
    for (times, change) in [(2, Change::Trust), (3, Change::Issue), (4, Change::Forget)] {
        certificates.change(change);
        tenant.mount(&certificates);
        until_taken_up(&tenant, times);
        writer.goes_on(100);
    }
    let account = writer.finish();
    assert!(account.failed.is_empty(), "{account:?}\n{}", tenant.logs());
    tenant.check("certified", &account);
    // It serves for all that members do with each other, also for links that are made anew.
    let writer = tenant.writer("after", 1);
    let (primary, replica) = tenant.pair(0);
    tenant.members[primary].signal("KILL");
    tenant.wait_for("the other is the primary", |it| it.primaries().contains(&replica));
    writer.goes_on(100);
    assert_eq!(tenant.settle()[0], replica);
    tenant.check("after", &writer.finish());
    for member in &tenant.members {
        let ended = member.node.as_ref().unwrap().ended().len();
        assert_eq!(
            ended,
            usize::from(member.address == tenant.members[primary].address),
            "{}",
            tenant.logs()
        );
    }
}
