//! How much the running kernel can do: found by trying, never by its version.

use std::fs;
use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use super::load;
use crate::bpf::attach::{PRIVILEGE, heard};
use crate::bpf::skeleton::lsm::LsmSkelBuilder;
use crate::stats;
use crate::stats::tier::{Missing, Tier as Counting};

/// How much BPF can do on this kernel, most first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Requests are answered in the kernel.
    Hook,
    /// Requests are counted: `fusex bpf-stats`.
    Trace,
    /// Nothing.
    None,
}

impl Tier {
    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Hook => "hook",
            Tier::Trace => "trace",
            Tier::None => "none",
        }
    }

    /// What can be done with it.
    pub fn what(self) -> &'static str {
        match self {
            Tier::Hook => {
                "requests on mounts with '-o kernel=fusebpf' can be answered in the kernel"
            }
            Tier::Trace => "requests can be counted: 'fusex bpf-stats'",
            Tier::None => {
                "what plain FUSE has is used by 'fusex mount': timeouts, negative entries, \
                 READDIRPLUS, passthrough"
            }
        }
    }
}

/// The best tier of this kernel, and what is missing for each better one.
pub fn probe() -> (Tier, Vec<Missing>) {
    let mut missing = Vec::new();
    match load::trial() {
        Ok(()) => return (Tier::Hook, missing),
        Err(why) => missing.push(no_hook(&why)),
    }
    missing.push(no_lsm());
    let counting: Counting = stats::collect::probe();
    if counting.source != stats::tier::Source::None {
        return (Tier::Trace, missing);
    }
    missing.extend(counting.missing);
    (Tier::None, missing)
}

fn no_hook(why: &str) -> Missing {
    let what = "tier hook";
    let (why, cure) = match why {
        // What libbpf complains of first: the functions, or the type, are not there.
        why if why.contains("fuse_bpf_") && why.contains("not found") => (
            "this kernel has no fuse_bpf_ops".to_string(),
            "build and load the module fusebpf (kernel/), and mount with '-o kernel=fusebpf'",
        ),
        why if why.contains("EPERM") => (why.to_string(), PRIVILEGE),
        why => (why.to_string(), "see the kernel's log"),
    };
    Missing { what, why, cure: cure.to_string() }
}

/// What stands in the way of BPF programs on the kernel's security hooks.
fn no_lsm() -> Missing {
    let active = fs::read_to_string("/sys/kernel/security/lsm").ok();
    let (why, cure) = lsm_reason(lsm_trial(), active.as_deref());
    Missing { what: "tier lsm", why, cure: cure.to_string() }
}

/// Whether the kernel takes a program for a security hook; why not.
fn lsm_trial() -> Result<(), String> {
    heard(|| {
        // Lives as long as the process: the skeleton borrows it.
        let object = Box::leak(Box::new(MaybeUninit::uninit()));
        let skeleton = LsmSkelBuilder::default().open(object)?.load()?;
        skeleton.progs.allow.attach_lsm().map(drop)
    })
}

fn lsm_reason(trial: Result<(), String>, active: Option<&str>) -> (String, &'static str) {
    let is_active = active.is_none_or(|names| names.trim().split(',').any(|name| name == "bpf"));
    match trial {
        Err(why) => (why, "boot a kernel with CONFIG_BPF_LSM, and with 'lsm=...,bpf'"),
        Ok(()) if !is_active => (
            "bpf is not among the kernel's security modules".to_string(),
            "boot with 'lsm=...,bpf'",
        ),
        Ok(()) => ("this version of fusex has no programs for it".to_string(), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_there_is_no_hook() {
        let said = "extern (func ksym) 'fuse_bpf_in_size': not found in kernel or module BTFs";
        let missing = no_hook(said).to_string();
        assert!(
            missing.starts_with("tier hook: this kernel has no fuse_bpf_ops: build"),
            "{missing}"
        );
        let refused = no_hook("BPF programs cannot be loaded: EPERM");
        assert_eq!(refused.cure, PRIVILEGE);
        assert_eq!(no_hook("prog 'handle': bad").why, "prog 'handle': bad");
    }

    #[test]
    fn what_is_missing_for_lsm() {
        let reason =
            |trial: Result<(), &str>, active| lsm_reason(trial.map_err(str::to_string), active).0;
        assert_eq!(reason(Err("no hook"), Some("bpf")), "no hook");
        assert!(reason(Ok(()), Some("lockdown,yama\n")).contains("not among"));
        assert!(reason(Ok(()), Some("lockdown,bpf\n")).contains("no programs"));
        assert!(reason(Ok(()), None).contains("no programs"));
    }
}
