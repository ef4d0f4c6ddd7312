//! How a client of a Replicated tenant writes.

use std::io;

use crate::{
    client::{Client, Reply, ask},
    tenant::{REDIS, SENTINEL},
};

/// Writes keys. A write counts once this many replicas have it, or with 0 once the primary says OK.
pub(crate) fn attempts(
    members: Vec<String>,
    replicas: usize,
) -> impl FnMut(&str) -> io::Result<()> + Send + 'static {
    let mut client = None;
    move |key| {
        let done = attempt(&mut client, &members, key, replicas);
        if done.is_err() {
            client = None;
        }
        done
    }
}

fn attempt(client: &mut Option<Client>, members: &[String], key: &str, replicas: usize) -> io::Result<()> {
    if client.is_none() {
        *client = Some(Client::connect(&primary(members)?, REDIS)?);
    }
    let Some(client) = client else { return Ok(()) };
    let set = ["SET", key, key];
    let mut reply = client.call(&set)?;
    if reply.text().starts_with("READONLY") {
        // A primary that has handed over follows the new one, which the Sentinels name up to a second later.
        let role = client.call(&["ROLE"])?;
        let Some(primary) = role.list().get(1) else { return Err(io::Error::other("READONLY")) };
        *client = Client::connect(primary.text(), REDIS)?;
        reply = client.call(&set)?;
    }
    match reply {
        Reply::Text(_) => {}
        other => return Err(io::Error::other(other.text().to_owned())),
    }
    if replicas == 0 {
        return Ok(());
    }
    match client.call(&["WAIT", &replicas.to_string(), "1000"])? {
        Reply::Integer(had) if usize::try_from(had).unwrap_or(0) >= replicas => Ok(()),
        Reply::Error(text) => Err(io::Error::other(text)),
        _ => Err(io::Error::other("WAIT")),
    }
}

/// Whom the first Sentinel names that answers, as a client asks.
fn primary(members: &[String]) -> io::Result<String> {
    for member in members {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "primary"];
        if let Ok(Reply::List(address)) = ask(member, SENTINEL, &command) {
            return Ok(address[0].text().to_owned());
        }
    }
    Err(io::Error::other("nobody-named"))
}
