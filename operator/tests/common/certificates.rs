//! The Secret with the certificate as the kubelet mounts it, made as the operator makes it.
#![allow(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::{fs, os::unix::fs::symlink, path::Path};

use k8s_openapi::jiff::Timestamp;
use keystead_operator::tenant::{
    certificates::{Authority, Change, Names, Order, make_authority},
    credentials::Contents,
};

/// A tenant's Secret, and who signs.
pub(crate) struct Certificates {
    pub(crate) authority: Authority,
    pub(crate) names: Names,
    contents: Contents,
}

impl Certificates {
    /// For a tenant whose Services have these addresses.
    pub(crate) fn new(addresses: &[String]) -> Self {
        let names = Names::of(&"shop".parse().unwrap(), addresses.iter().map(String::as_str));
        let mut new = Self { authority: authority(), names, contents: Contents::new() };
        new.change(Change::Issue);
        new
    }

    /// Somebody else signs from now on: nothing changes yet.
    pub(crate) fn take_authority(&mut self) {
        self.authority = authority();
    }

    pub(crate) fn change(&mut self, change: Change) {
        let (authority, names) = (self.authority.clone(), self.names.clone());
        let order = Order { change, authority, names, contents: self.contents.clone() };
        self.contents = order.carry_out(Timestamp::now()).unwrap();
    }

    /// Mounts it, all files at once.
    pub(crate) fn mount(&self, folder: &Path) {
        // Another one each time: there is one more entry than before.
        let turn = fs::read_dir(folder).map_or(0, Iterator::count);
        let own = folder.join(format!("..{turn}"));
        fs::create_dir_all(&own).unwrap();
        for (name, text) in &self.contents {
            fs::write(own.join(name), text).unwrap();
            if fs::symlink_metadata(folder.join(name)).is_err() {
                symlink(format!("..data/{name}"), folder.join(name)).unwrap();
            }
        }
        symlink(format!("..{turn}"), folder.join("..next")).unwrap();
        fs::rename(folder.join("..next"), folder.join("..data")).unwrap();
    }
}

fn authority() -> Authority {
    Authority::read(&make_authority(&"shop".parse().unwrap(), Timestamp::now()).unwrap()).unwrap()
}
