//! What goes from one program to the next: the mount's descriptors, kept by a service manager
//! while all processes are dead, or inherited by a new version.

#[path = "../common/mod.rs"]
mod common;

// A load that knows what each call has to come to.
#[path = "../survive/program.rs"]
mod program;

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
