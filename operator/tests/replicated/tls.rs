//! Members that speak TLS: as the others, and with certificates that change while clients write.

use std::{net::TcpStream, sync::Arc};

use keystead_operator::tenant::certificates::Change;

use crate::{certificates::Certificates, tenant::Tenant};

fn settled() -> (Tenant, Certificates) {
    let (mut tenant, certificates) = Tenant::secured(3);
    tenant.members.iter_mut().for_each(crate::tenant::Member::start);
    assert_eq!(tenant.settle(), 0);
    (tenant, certificates)
}

/// Waits until every Redis and every Sentinel has taken up so many certificates after its first.
fn until_taken_up(tenant: &Tenant, times: usize) {
    tenant.wait_for("the certificate is taken up", |it| {
        it.members.iter().all(|member| {
            // The keeper that begins with it has Redis read whatever is there.
            member.log("sentinel.log").matches("Sentinel starts anew").count() >= times
        })
    });
    tenant.settle();
}

#[test]
fn a_tenant_forms_fails_over_and_hands_over_by_tls() {
    let (mut tenant, _) = settled();
    for member in &tenant.members {
        for probe in ["ready.sh", "alive.sh", "ready.sh 26379", "alive.sh 26379"] {
            assert!(member.probe(probe), "{probe}");
        }
        member.assert_refuses_plain();
    }
    let writer = tenant.writer("killed", 1);
    writer.goes_on(100);
    tenant.members[0].redis.as_ref().unwrap().signal("KILL");
    tenant.wait_for("another is named", |it| it.members[2].names() != Some(it.members[0].address.clone()));
    writer.goes_on(100);
    let primary = tenant.settle();
    assert_ne!(primary, 0);
    assert_eq!(tenant.check("killed", &writer.finish()), 0);

    let writer = tenant.writer("handed-over", 1);
    writer.goes_on(100);
    tenant.members[primary].end();
    writer.goes_on(100);
    let account = writer.finish();
    tenant.members[primary].start();
    assert_ne!(tenant.settle(), primary);
    assert_eq!(tenant.check("handed over", &account), 0);
    let reader = tenant.reader();
    tenant.wait_for("a reader follows", |_| reader.info("master_link_status") == "up");
}

#[test]
fn certificates_and_who_signs_them_change_without_a_failed_write_and_never_two_sentinels_are_away() {
    let (tenant, mut certificates) = settled();
    let reader = tenant.reader();
    tenant.wait_for("the reader follows", |_| reader.info("master_link_status") == "up");
    let watch = Voices::watch(&tenant);
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
    assert_eq!(watch.finish(), 0, "times that two Sentinels were away");
    let account = writer.finish();
    assert!(account.failed.is_empty(), "{account:?}");
    assert_eq!(tenant.check("certified", &account), 0);
    tenant.wait_for("the reader has the certificate", |_| reader.info("master_link_status") == "up");
    // A test's WAIT would count it where its source becomes the primary.
    drop(reader);
    for member in &tenant.members {
        assert_eq!(member.sentinel.as_ref().unwrap().ended().len(), 0, "no container was started again");
    }
    // It serves for all that members do with each other.
    let writer = tenant.writer("after", 1);
    tenant.members[0].redis.as_ref().unwrap().signal("KILL");
    tenant.wait_for("another is named", |it| it.members[2].names() != Some(it.members[0].address.clone()));
    writer.goes_on(100);
    assert_ne!(tenant.settle(), 0);
    assert_eq!(tenant.check("after", &writer.finish()), 0);
}

/// Counts how often fewer than two of the Sentinels listened.
struct Voices {
    stop: Arc<std::sync::atomic::AtomicBool>,
    thread: std::thread::JoinHandle<usize>,
}

impl Voices {
    fn watch(tenant: &Tenant) -> Self {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (stopped, addresses) = (Arc::clone(&stop), tenant.addresses());
        let thread = std::thread::spawn(move || {
            let mut silences = 0;
            while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
                let listens =
                    |it: &&String| TcpStream::connect((it.as_str(), crate::tenant::SENTINEL)).is_ok();
                silences += usize::from(addresses.iter().filter(listens).count() < 2);
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            silences
        });
        Self { stop, thread }
    }

    fn finish(self) -> usize {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
