//! One tenant's store on Redis: entries, index, accounts, queue. No HTTP, no Kubernetes.
//!
//! Every key carries a hash tag, so that what one script touches is on one node of a Redis Cluster:
//! `kv:{0}:…` entries, their indexes, the change feed and remembered requests, `auth:{a}:…` accounts and refresh tokens, `jobs:{j}:…` the queue,
//! `audit:{l}:…` the audit log.

pub mod accounts;
pub mod acl;
pub mod activity;
pub mod api_keys;
pub mod audit;
mod breaker;
mod caches;
mod clock;
mod cluster;
mod connection;
mod entry;
mod error;
pub mod feed;
mod group;
pub mod idempotency;
pub mod json;
mod keyring;
mod lanes;
pub mod limits;
mod lines;
mod observe;
mod options;
pub mod queue;
mod rfc3339;
mod script;
mod store;
mod tls;
mod tracked;
pub mod usage;

pub use connection::{Connection, Info};
pub use entry::{Corrupt, EntityTag, Entry, JSON, Metadata};
pub use error::Error;
pub use keyring::{InvalidKey, Keyring};
pub use lanes::{MAX_LANES, enter_lane};
pub use observe::{Observer, Replication};
pub use options::ConnectOptions;
pub use store::{
    Condition, Done, Filter, Incremented, LARGEST_NUMBER, Listing, NotIncremented, Operation, Outcome, Put,
    Read, Resealed, Select, Store, Ttl, Written,
};
