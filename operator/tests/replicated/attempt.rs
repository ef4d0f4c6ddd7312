//! How a client of a Replicated tenant writes.

use std::{
    collections::BTreeMap,
    io, thread,
    time::{Duration, Instant},
};

use crate::{
    client::{Client, Reply, ask},
    tenant::{REDIS, SENTINEL},
};

/// How long the other members have to confirm a write.
const WITHIN: Duration = Duration::from_secs(1);
/// How long one is left alone that did not answer.
const REST: Duration = Duration::from_secs(1);

/// Writes keys. A write counts once this many replicas have it and nobody has become the primary meanwhile, which the others are
/// asked as the gateway does with `durability: Replicated`; or with 0 once the primary says OK.
pub(crate) fn attempts(
    members: Vec<String>,
    replicas: usize,
) -> impl FnMut(&str) -> io::Result<()> + Send + 'static {
    let mut primary = None;
    let mut witnesses = Witnesses::default();
    move |key| {
        let done = attempt(&mut primary, &members, key, replicas, &mut witnesses);
        if done.is_err() {
            primary = None;
        }
        done
    }
}

fn attempt(
    primary: &mut Option<(String, Client)>,
    members: &[String],
    key: &str,
    replicas: usize,
    witnesses: &mut Witnesses,
) -> io::Result<()> {
    if primary.is_none() {
        *primary = Some(connect(named(members)?)?);
    }
    let Some((address, client)) = primary else { return Ok(()) };
    let set = ["SET", key, key];
    let mut reply = client.call(&set)?;
    if reply.text().starts_with("READONLY") {
        // A primary that has handed over follows the new one, which the Sentinels name up to a second later.
        let role = client.call(&["ROLE"])?;
        let Some(followed) = role.list().get(1) else { return Err(io::Error::other("READONLY")) };
        (*address, *client) = connect(followed.text().to_owned())?;
        reply = client.call(&set)?;
    }
    match reply {
        Reply::Text(_) => {}
        other => return Err(io::Error::other(other.text().to_owned())),
    }
    if replicas == 0 {
        return Ok(());
    }
    let role = client.call(&["ROLE"])?;
    let Some(Reply::Integer(offset)) = role.list().get(1) else { return Err(io::Error::other("REPLACED")) };
    witnesses.confirm(members, address, *offset, replicas)
}

fn connect(address: String) -> io::Result<(String, Client)> {
    let client = Client::connect(&address, REDIS)?;
    Ok((address, client))
}

/// Whom the first Sentinel names that answers, as a client asks.
fn named(members: &[String]) -> io::Result<String> {
    for member in members {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary"];
        if let Ok(Reply::List(address)) = ask(member, SENTINEL, &command) {
            return Ok(address[0].text().to_owned());
        }
    }
    Err(io::Error::other("nobody-named"))
}

/// Connections to the members, and until when those are left alone that did not answer.
#[derive(Default)]
struct Witnesses {
    clients: BTreeMap<String, Client>,
    rest: BTreeMap<String, Instant>,
}

impl Witnesses {
    /// `WAIT` would not do: a primary that was taken for dead and goes on may still have a replica that has not heard of the new one.
    fn confirm(&mut self, members: &[String], primary: &str, offset: i64, replicas: usize) -> io::Result<()> {
        let until = Instant::now() + WITHIN;
        loop {
            let (mut have, mut behind) = (0, 0);
            for member in members.iter().filter(|member| *member != primary) {
                let Some(role) = self.role(member) else { continue };
                match role.list() {
                    [Reply::Text(role), ..] if role == "master" => return Err(io::Error::other("REPLACED")),
                    [_, Reply::Text(of), _, Reply::Text(link), Reply::Integer(has)] if of == primary => {
                        have += usize::from(link == "connected" && *has >= offset);
                        behind += usize::from(link == "connected" && *has < offset);
                    }
                    _ => behind += 1,
                }
            }
            if behind == 0 && have >= replicas {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(io::Error::other("UNCONFIRMED"));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn role(&mut self, member: &str) -> Option<Reply> {
        if self.rest.get(member).is_some_and(|until| Instant::now() < *until) {
            return None;
        }
        // A connection is tried anew: whoever becomes the primary ends all that there are.
        for _ in 0..2 {
            let client = match self.clients.remove(member) {
                Some(client) => Ok(client),
                None => Client::connect(member, REDIS),
            };
            let answer = client.and_then(|mut client| client.call(&["ROLE"]).map(|role| (client, role)));
            if let Ok((client, role)) = answer {
                self.clients.insert(member.to_owned(), client);
                return Some(role);
            }
        }
        self.rest.insert(member.to_owned(), Instant::now() + REST);
        None
    }
}
