//! What goes from one program to the next: the mount's descriptors, kept by a service manager
//! while all processes are dead, or inherited by a new version.

#[path = "../common/mod.rs"]
mod common;

// A load that knows what each call has to come to.
#[path = "../survive/attrs.rs"]
mod attrs;
#[path = "../survive/check.rs"]
mod check;
#[path = "../survive/data.rs"]
mod data;
#[path = "../survive/files.rs"]
mod files;
#[path = "../survive/listing.rs"]
mod listing;
#[path = "../survive/locks.rs"]
mod locks;
#[path = "../survive/mapped.rs"]
mod mapped;
#[path = "../survive/model.rs"]
mod model;
#[path = "../survive/names.rs"]
mod names;
#[path = "../survive/oracle.rs"]
mod oracle;
#[path = "../survive/random.rs"]
mod random;
#[path = "../survive/tree.rs"]
mod tree;

mod caller;
mod damaged;
mod deeds;
mod load;
mod manager;
mod notified;
mod refused;
mod restart;
mod unit;
mod upgrade;
