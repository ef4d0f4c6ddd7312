//! What the other members say of a write: whether they have it, and that none of them has become the primary in the place
//! of the one that carried it out.
//!
//! `WAIT` would tell only the first. A primary that was taken for dead and goes on may still have a replica that has not
//! heard of the new one: together they would confirm what the new primary never sees.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use futures::future::join_all;
use redis::{FromRedisValue as _, Value, cmd};
use tokio::{net::TcpStream, time::error::Elapsed};

use super::{
    inherit::{Mark, field},
    primary::{Role, role_of},
};
use crate::{
    error::{Error, Failed},
    lines::Lines,
    options::ConnectOptions,
};

/// How long a member has for an answer.
const WITHIN: Duration = Duration::from_millis(100);
/// How long one is waited for that lets connect but does not answer: it may be slow, and be the one that has become the primary.
/// After this time the Sentinels have told the others whom they follow (they look at the promoted one once a second).
const SILENCE: Duration = Duration::from_millis(1500);
/// How long one is left alone then.
const REST: Duration = Duration::from_secs(1);
/// How long before a member that is behind is asked again.
const PAUSE: Duration = Duration::from_millis(1);

/// The members beside the primary.
pub(super) struct Witnesses {
    others: Vec<Witness>,
    begun: Instant,
}

struct Witness {
    address: String,
    lines: Lines,
    /// As `Witnesses::now` counts, like the next.
    rests_until: AtomicU64,
    /// Since when it has not answered; `HEARD`: it has.
    silent_since: AtomicU64,
}

const HEARD: u64 = u64::MAX;
const LONG_AGO: u64 = 0;

/// What a member says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It follows the primary, and has everything.
    Has,
    /// It follows the primary or another, and has it not, or not yet; or it is there, and has been silent for a moment.
    Behind,
    /// Nothing that counts: it is away, or it is not in sync and will have to fetch everything.
    Nothing,
    /// It has become the primary.
    IsPrimary,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Confirmed,
    /// Not in time.
    TooFew,
    /// Another has become the primary.
    Replaced,
}

impl Witnesses {
    pub(super) fn new(options: &ConnectOptions, members: &[String], primary: &str) -> Result<Self, Error> {
        let witness = |address: &String| {
            let lines = Lines::to(options, address, WITHIN)?;
            let (rests_until, silent_since) = (AtomicU64::new(0), AtomicU64::new(HEARD));
            Ok(Witness { address: address.clone(), lines, rests_until, silent_since })
        };
        let others = members.iter().filter(|address| *address != primary).map(witness);
        Ok(Self { others: others.collect::<Result<_, Error>>()?, begun: Instant::now() })
    }

    /// Asks until as many replicas as it takes have everything up to this place, and none that answers is behind.
    pub(super) async fn confirm(
        &self,
        primary: &str,
        mark: &Mark,
        replicas: usize,
        within: Duration,
    ) -> Verdict {
        let until = Instant::now() + within;
        let mut said = vec![Says::Behind; self.others.len()];
        let mut is_first = true;
        loop {
            // Who has it once will not lose it: whoever becomes the primary after this answer has it too. Who rests is asked
            // all the same where the others are not enough.
            let asked = self.others.iter().zip(&said).map(async |(witness, before)| match before {
                Says::Has => Says::Has,
                _ if is_first && self.rests(witness) => Says::Nothing,
                _ => self.ask(witness, primary, mark).await,
            });
            said = join_all(asked).await;
            is_first = false;
            match verdict(&said, replicas) {
                Some(verdict) => return verdict,
                None if Instant::now() >= until => return Verdict::TooFew,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The one that was the primary until now is not waited for while it is silent: it cannot become it again before it follows
    /// somebody, and is heard.
    pub(super) fn replace(&mut self, former: &str) {
        for witness in self.others.iter_mut().filter(|it| it.address == former) {
            *witness.silent_since.get_mut() = LONG_AGO;
        }
    }

    /// In milliseconds; what was long ago is at 0.
    fn now(&self) -> u64 {
        milliseconds(self.begun.elapsed() + SILENCE)
    }

    fn rests(&self, witness: &Witness) -> bool {
        witness.rests_until.load(Ordering::Relaxed) > self.now()
    }

    async fn ask(&self, witness: &Witness, primary: &str, mark: &Mark) -> Says {
        let answer = tokio::time::timeout(WITHIN, async {
            loop {
                match role(&witness.lines, mark).await {
                    // Whoever is made the primary ends all connections first: just then its answer counts.
                    Err(Failed::Redis(error)) if error.is_io_error() && !error.is_timeout() => {
                        tokio::time::sleep(PAUSE).await;
                    }
                    answer => return answer,
                }
            }
        });
        let answer = answer.await;
        if is_silent(&answer) && is_there(&witness.address).await {
            // Whoever was not silent before is so from now on.
            let now = self.now();
            let since = witness.silent_since.fetch_min(now, Ordering::Relaxed).min(now);
            if now - since < milliseconds(SILENCE) {
                return Says::Behind;
            }
        } else {
            witness.silent_since.store(HEARD, Ordering::Relaxed);
        }
        match answer {
            Ok(Ok(Answer::Primary { succeeds: true })) => Says::IsPrimary,
            Ok(Ok(Answer::Replica { role: Role::Replica { of, is_connected }, offset })) => {
                match (of == primary, is_connected) {
                    (true, true) if offset >= mark.offset => Says::Has,
                    (true, true) | (false, _) => Says::Behind,
                    (true, false) => Says::Nothing,
                }
            }
            // A primary of before that has not heard that it is none any more.
            Ok(Ok(_)) => Says::Nothing,
            Ok(Err(Failed::Redis(error))) if error.code().is_some() => Says::Nothing,
            _ => {
                witness.rests_until.store(self.now() + milliseconds(REST), Ordering::Relaxed);
                Says::Nothing
            }
        }
    }
}

/// Neither an answer nor a connection that was refused, as where no process is.
fn is_silent(answer: &Result<Result<Answer, Failed>, Elapsed>) -> bool {
    match answer {
        Err(_) => true,
        Ok(Err(Failed::Redis(error))) => error.is_timeout(),
        Ok(_) => false,
    }
}

/// Whether a process listens at this address: its kernel takes a connection at once, however busy it is itself. A pod that
/// ends is silent for a second, until nobody is led to it any more: nobody is to wait for that.
async fn is_there(address: &str) -> bool {
    matches!(tokio::time::timeout(WITHIN, TcpStream::connect(address)).await, Ok(Ok(_)))
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(HEARD)
}

fn verdict(said: &[Says], replicas: usize) -> Option<Verdict> {
    let count = |wanted: Says| said.iter().filter(|it| **it == wanted).count();
    if count(Says::IsPrimary) > 0 {
        return Some(Verdict::Replaced);
    }
    (count(Says::Behind) == 0 && count(Says::Has) >= replicas).then_some(Verdict::Confirmed)
}

enum Answer {
    Replica {
        role: Role,
        offset: u64,
    },
    /// Whether it goes on from what the primary in question wrote.
    Primary {
        succeeds: bool,
    },
}

async fn role(lines: &Lines, mark: &Mark) -> Result<Answer, Failed> {
    let line = lines.line().await?;
    let answer = line.one(&cmd("ROLE")).await?;
    let (role, offset) = match &answer {
        Value::Array(parts) => (role_of(parts), parts.get(4).cloned()),
        _ => (None, None),
    };
    match role {
        Some(Role::Primary) => {
            let info = line.one(cmd("INFO").arg("replication")).await?;
            let info = String::from_redis_value(info).unwrap_or_default();
            Ok(Answer::Primary { succeeds: field(&info, "master_replid2") == Some(&mark.history) })
        }
        Some(role) => {
            let offset = offset.and_then(|offset| u64::from_redis_value(offset).ok()).unwrap_or(0);
            Ok(Answer::Replica { role, offset })
        }
        None => Err(Failed::NotSent("an unexpected answer".into())),
    }
}

#[cfg(test)]
mod tests {
    use keystead_route::Endpoint;

    use super::*;
    use Says::{Behind, Has, IsPrimary, Nothing};

    /// Members that let connect, and say nothing.
    async fn silent(count: usize) -> (Vec<tokio::net::TcpListener>, Vec<String>) {
        let mut listeners = Vec::new();
        for _ in 0..count {
            listeners.push(tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let addresses = listeners.iter().map(|it| it.local_addr().unwrap().to_string()).collect();
        (listeners, addresses)
    }

    #[tokio::test]
    async fn one_that_is_silent_is_waited_for_unless_it_was_the_primary() {
        let (listeners, members) = silent(2).await;
        let primary = "127.0.0.1:1";
        let options = ConnectOptions::new(Endpoint::Standalone { address: primary.into() }, None, None);
        let mut witnesses = Witnesses::new(&options, &members, primary).unwrap();
        witnesses.replace(&members[0]);
        let mark = Mark { history: "id".into(), offset: 1 };
        assert_eq!(witnesses.ask(&witnesses.others[0], primary, &mark).await, Nothing);
        assert_eq!(witnesses.ask(&witnesses.others[1], primary, &mark).await, Behind);
        // Where nobody listens nobody is waited for.
        drop(listeners);
        assert_eq!(witnesses.ask(&witnesses.others[1], primary, &mark).await, Nothing);
    }

    #[test]
    fn as_many_as_it_takes_must_have_it_and_nobody_may_be_behind() {
        assert_eq!(verdict(&[Has, Has], 1), Some(Verdict::Confirmed));
        assert_eq!(verdict(&[Has, Nothing], 1), Some(Verdict::Confirmed), "one may be away");
        assert_eq!(verdict(&[Has, Behind], 1), None, "it may be the next primary");
        assert_eq!(verdict(&[Nothing, Nothing], 1), None);
        assert_eq!(verdict(&[Has, Nothing, Nothing, Nothing], 2), None);
        assert_eq!(verdict(&[Has, Has, Nothing, Nothing], 2), Some(Verdict::Confirmed));
        assert_eq!(verdict(&[Has, IsPrimary], 1), Some(Verdict::Replaced));
    }
}
