//! `volumes[]` of a workload and `volumeMounts[]` of its components.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use crate::{
    ResourceName,
    decode::{At, Decoded, Decoder, Mapping, metadata::NAME},
    diagnostic::{did_you_mean, one_of, quote},
    manifest::{Volume, VolumeMount, VolumeSource},
};

/// Longest path of a volume, in bytes: that of Linux.
pub(super) const PATH_BYTES_MAX: usize = 4095;
const HOST_PATH: &str = "an absolute path of the host, such as /var/lib/data";
const MOUNT_PATH: &str = "an absolute path without '.' and '..' segments, such as /data";

pub(crate) fn volume(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<Volume> {
    let m = d.mapping(at, &["name", "ephemeral", "hostPath"])?;
    let name = d.required(&m, "name", NAME).and_then(|at| d.parse(&at, NAME));
    let source = match (m.get("ephemeral"), m.get("hostPath")) {
        (Some(ephemeral), None) => d.mapping(&ephemeral, &[]).map(|_| VolumeSource::Ephemeral),
        (None, Some(host_path)) => host_folder(d, &host_path).map(VolumeSource::HostPath),
        (None, None) => {
            let problem = d.problem(at, "a volume without a source", "ephemeral: {} or hostPath: {path: PATH}");
            Err(d.report(problem))
        }
        (Some(_), Some(host_path)) => {
            let problem = d.problem(&host_path, "a second source of the volume", "either ephemeral or hostPath");
            Err(d.report(problem))
        }
    };
    Ok(Volume { name: name?, source: source?, place: d.spot_at(at).place() })
}

fn host_folder(d: &mut Decoder<'_>, at: &At<'_>) -> Decoded<PathBuf> {
    let m = d.mapping(at, &["path"])?;
    let path = d.required(&m, "path", HOST_PATH)?;
    let absolute = |text: &str| if is_absolute(text) { Ok(PathBuf::from(text)) } else { Err(()) };
    d.parse_by(&path, HOST_PATH, absolute, |()| None)
}

fn is_absolute(path: &str) -> bool {
    path.starts_with('/') && path.len() <= PATH_BYTES_MAX && !path.contains(char::is_control)
}

/// The mounts of one component. `volumes` are the names that its workload declares.
pub(crate) fn mounts(d: &mut Decoder<'_>, m: &Mapping<'_>, volumes: &BTreeSet<&str>) -> Decoded<Vec<VolumeMount>> {
    let mut known = BTreeMap::new();
    d.list(m, "volumeMounts", |d, at| {
        let (mount, path) = mount(d, at, volumes)?;
        match known.get(&mount.mount_path) {
            None => drop(known.insert(mount.mount_path.clone(), d.spot_at(&path))),
            Some(first) => {
                let problem = d.problem(&path, format!("{} again", quote(&mount.mount_path)), "every mountPath once");
                return Err(d.report(problem.related(first, "first written here")));
            }
        }
        Ok(mount)
    })
}

fn mount<'n>(d: &mut Decoder<'_>, at: &At<'n>, volumes: &BTreeSet<&str>) -> Decoded<(VolumeMount, At<'n>)> {
    let m = d.mapping(at, &["name", "mountPath", "readOnly"])?;
    let name = d.required(&m, "name", "the name of a volume").and_then(|at| declared(d, &at, volumes));
    let path = d.required(&m, "mountPath", MOUNT_PATH);
    let path = path.and_then(|at| Ok((d.parse_by(&at, MOUNT_PATH, guest_path, |()| None)?, at)));
    let read_only = d.optional(&m, "readOnly", |d, at| d.boolean(at));
    let (name, (mount_path, at)) = (name?, path?);
    Ok((VolumeMount { name, mount_path, read_only: read_only?.unwrap_or(false) }, at))
}

fn declared(d: &mut Decoder<'_>, at: &At<'_>, volumes: &BTreeSet<&str>) -> Decoded<ResourceName> {
    let name = d.parse::<ResourceName>(at, NAME)?;
    if volumes.contains(name.as_str()) {
        return Ok(name);
    }
    let names: Vec<&str> = volumes.iter().copied().take(16).collect();
    let expected = match names.as_slice() {
        [] => "the name of a volume, of which this workload declares none".to_owned(),
        _ => format!("a volume of this workload: {}", crate::diagnostic::bare(&one_of(&names))),
    };
    let problem = d.problem(at, quote(name.as_str()), expected);
    Err(d.report(problem.help(did_you_mean(name.as_str(), volumes.iter().copied()))))
}

fn guest_path(text: &str) -> Result<String, ()> {
    let plain = is_absolute(text) && !text.split('/').any(|segment| matches!(segment, "." | ".."));
    if plain { Ok(text.to_owned()) } else { Err(()) }
}
