//! Volumes, which on the local cluster are folders of the node: one that is emptied, and ones that are small enough
//! to be filled.

use std::{
    fs::{self, File},
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
};

use keystead_e2e::get_json;

use super::{
    LONG, Site,
    pods::{GRACEFUL, delete},
};
use crate::members::Pod;

/// Removes all that is on the pod's volume.
pub(super) fn empty(site: &Site, pod: &Pod) {
    for entry in fs::read_dir(folder(site, pod)).expect("the volume's folder").flatten() {
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        let removed =
            if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        // Redis removes temporary files of its own.
        assert!(removed.is_ok() || !entry.path().exists(), "{}: {removed:?}", entry.path().display());
    }
}

/// A file system in memory over the volume of each member, until this is dropped.
#[derive(Debug)]
pub struct SmallDisks {
    folders: Vec<PathBuf>,
}

/// A volume without room, until this is dropped.
#[derive(Debug)]
struct Full(PathBuf);

impl SmallDisks {
    /// Member after member: a mount is seen only by a container that starts after it, with an empty volume and as a
    /// replica of the others.
    pub fn under(site: &Site) -> Self {
        let mut disks = Self { folders: Vec::new() };
        for pod in site.members.pods().expect("pods") {
            let folder = folder(site, &pod);
            let mut mount = Command::new("mount");
            mount.args(["-t", "tmpfs", "-o", "size=32m,mode=0777", "tmpfs"]).arg(&folder);
            assert!(
                mount.status().is_ok_and(|status| status.success()),
                "mounting over {}",
                folder.display()
            );
            disks.folders.push(folder);
            delete(site, &[pod], GRACEFUL);
            site.settle();
        }
        disks
    }

    /// The disk of whoever is the primary is full for 15 s.
    pub fn fill(&self, site: &Site) {
        let _full = Full::of(site, &site.primary());
        sleep(LONG);
    }
}

impl Full {
    fn of(site: &Site, pod: &Pod) -> Self {
        let full = Self(folder(site, pod).join("filled-by-the-test"));
        let mut file = File::create(&full.0).expect("making the file that fills the disk");
        let block = [0; 4096];
        loop {
            match file.write(&block) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::StorageFull => return full,
                Err(error) => panic!("filling the disk: {error}"),
            }
        }
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("the disk stays full: {error}");
        }
    }
}

impl Drop for SmallDisks {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Pods have it open until they go with their Tenant.
            let _ = Command::new("umount").arg("--lazy").arg(folder).status();
        }
    }
}

/// Where the pod's volume is on the node.
fn folder(site: &Site, pod: &Pod) -> PathBuf {
    let volumes = pod.object["spec"]["volumes"].as_array().map_or(&[][..], Vec::as_slice);
    let claim = volumes.iter().find_map(|volume| volume["persistentVolumeClaim"]["claimName"].as_str());
    let claim = claim.expect("a pod with a volume");
    let claim = get_json(&["pvc", claim, "-n", site.members.namespace()]).expect("its claim");
    let volume = claim["spec"]["volumeName"].as_str().expect("a bound claim");
    let volume = get_json(&["pv", volume]).expect("its volume");
    let path = ["/spec/hostPath/path", "/spec/local/path"].iter().find_map(|at| volume.pointer(at)?.as_str());
    let path = Path::new(path.expect("a volume of the local-path provisioner")).to_owned();
    // Nothing else of the node may ever be emptied or covered.
    assert!(path.starts_with(site.cluster.state().join("volumes")), "{} is no volume", path.display());
    path
}
