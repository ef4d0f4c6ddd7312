//! A client of Redis Cluster: sends each command to who owns the slot, as far as it knows, and follows where it is sent.

use std::{collections::BTreeMap, io};

use crate::{
    client::{Client, Reply},
    tenant::REDIS,
};

pub(crate) const SLOTS: u16 = 16384;

/// The slot of a key, by its part in braces where it has one.
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    let hashed = tag.filter(|tag| !tag.is_empty()).unwrap_or(key);
    crc16::State::<crc16::XMODEM>::calculate(hashed.as_bytes()) % SLOTS
}

pub(crate) struct Cluster {
    members: Vec<String>,
    asked: usize,
    owners: BTreeMap<u16, String>,
    clients: BTreeMap<String, Client>,
}

impl Cluster {
    pub(crate) fn new(members: &[String]) -> Self {
        Self { members: members.to_owned(), asked: 0, owners: BTreeMap::new(), clients: BTreeMap::new() }
    }

    fn client(&mut self, address: &str) -> io::Result<&mut Client> {
        if !self.clients.contains_key(address) {
            self.clients.insert(address.to_owned(), Client::connect(address, REDIS)?);
        }
        self.clients.get_mut(address).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Writes keys, see [`Self::call`].
    pub(crate) fn attempts(mut self, replicas: usize) -> impl FnMut(&str) -> io::Result<()> + Send + 'static {
        move |key| self.call(key, &["SET", key, key], replicas).map(drop)
    }

    /// The answer of the owner of the key's slot; with `replicas`, only once so many of its replicas have it.
    pub(crate) fn call(&mut self, key: &str, command: &[&str], replicas: usize) -> io::Result<Reply> {
        let slot = slot(key);
        let result = self.attempt(slot, command, replicas);
        if result.is_err() {
            // Another may know more.
            if let Some(owner) = self.owners.remove(&slot) {
                self.clients.remove(&owner);
            }
            self.asked += 1;
        }
        result
    }

    fn attempt(&mut self, slot: u16, command: &[&str], replicas: usize) -> io::Result<Reply> {
        let anybody = &self.members[self.asked % self.members.len()];
        let mut owner = self.owners.get(&slot).unwrap_or(anybody).clone();
        let mut asking = false;
        for _ in 0..8 {
            let client = match self.client(&owner) {
                Ok(client) => client,
                Err(error) => {
                    self.owners.retain(|_, it| *it != owner);
                    return Err(error);
                }
            };
            let answer = if asking {
                client.call(&["ASKING"]).and_then(|_| client.call(command))
            } else {
                client.call(command)
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.clients.remove(&owner);
                    return Err(error);
                }
            };
            let words: Vec<&str> = answer.text().split(' ').collect();
            match (&answer, words[0]) {
                (Reply::Error(_), "MOVED" | "ASK") => {
                    asking = words[0] == "ASK";
                    let address = words[2].rsplit_once(':').map_or("", |(address, _)| address);
                    // The owner failed and has no address any more, as another answers there.
                    if address.is_empty() {
                        return Err(io::Error::other("owner-gone"));
                    }
                    address.clone_into(&mut owner);
                    if !asking {
                        self.owners.insert(slot, owner.clone());
                    }
                }
                (Reply::Error(text), _) => return Err(io::Error::other(text.clone())),
                _ if replicas == 0 => return Ok(answer),
                _ => {
                    return match self.client(&owner)?.call(&["WAIT", &replicas.to_string(), "1000"])? {
                        Reply::Integer(had) if usize::try_from(had).unwrap_or(0) >= replicas => Ok(answer),
                        Reply::Error(text) => Err(io::Error::other(text)),
                        _ => Err(io::Error::other("WAIT")),
                    };
                }
            }
        }
        Err(io::Error::other("sent-around"))
    }
}
