//! `fusex mount -t merge`: files made of pieces, on real mounts, against what they are made of.

#[path = "../common/mod.rs"]
mod common;
#[path = "../survive/kills.rs"]
#[allow(dead_code)]
mod kills;

mod content;
mod deaths;
mod faults;
mod refused;
mod shape;
mod world;
