//! Routes from a folder: read whenever a file's name, size or time of change differs.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use keystead_route::Route;

use super::update;
use crate::Gateway;

const INTERVAL: Duration = Duration::from_millis(250);

/// By the file's name: paths are compared part by part, which is a good part of a look at hundreds of files.
type Stamps = BTreeMap<OsString, (u64, SystemTime)>;

pub(super) async fn follow(folder: &Path, gateway: &Gateway) {
    let mut seen: Option<Stamps> = None;
    let mut routes: BTreeMap<OsString, Arc<Route>> = BTreeMap::new();
    let mut timer = tokio::time::interval(INTERVAL);
    loop {
        timer.tick().await;
        let stamps = match stamps(folder) {
            Ok(stamps) => stamps,
            Err(error) => {
                tracing::error!(folder = %folder.display(), %error, "the folder of routes cannot be read; the last routes are kept");
                continue;
            }
        };
        if seen.as_ref() == Some(&stamps) {
            continue;
        }
        routes.retain(|name, _| stamps.contains_key(name));
        for (name, stamp) in &stamps {
            if seen.as_ref().and_then(|seen| seen.get(name)) == Some(stamp) {
                continue;
            }
            let path = folder.join(name);
            match read(&path) {
                Ok(route) => {
                    routes.insert(name.clone(), Arc::new(route));
                }
                Err(error) => tracing::error!(
                    file = %path.display(), error, "a route is not valid; the last good one is kept"
                ),
            }
        }
        update(gateway, routes.values().cloned());
        seen = Some(stamps);
    }
}

fn stamps(folder: &Path) -> io::Result<Stamps> {
    let mut stamps = BTreeMap::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        let name = file.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "json") {
            // Of what a link leads to.
            let metadata = fs::metadata(file.path())?;
            stamps.insert(name, (metadata.len(), metadata.modified()?));
        }
    }
    Ok(stamps)
}

fn read(path: &Path) -> Result<Route, String> {
    let document = fs::read(path).map_err(|error| error.to_string())?;
    let route = Route::from_json(&document).map_err(|error| error.to_string())?;
    if path.file_stem().is_some_and(|stem| stem == route.tenant.as_str()) {
        Ok(route)
    } else {
        Err(format!("the route is of tenant {}: the file must be named {}.json", route.tenant, route.tenant))
    }
}
