//! The members of a tenant with several Redis, as Kubernetes and they themselves see them.

mod nodes;
mod sentinel;

use std::collections::BTreeMap;

use keystead_e2e::{Tenant, get_json, kubectl};
use serde_json::Value;

use self::{nodes::Nodes, sentinel::View};

/// How Redis and Sentinel are asked, in their own containers. The user `monitor` may read there and nothing else.
const ASK: &str = "REDISCLI_AUTH=\"$(cat /etc/keystead/passwords/monitor)\" exec redis-cli --user monitor \
                   --no-auth-warning \"$@\"";
const PRIMARY_NAME: &str = "primary";
const SELECTOR: &str = "app.kubernetes.io/component=redis";

/// Pods, each with a Service of its name.
#[derive(Clone, Debug)]
pub struct Members {
    namespace: String,
    kind: Kind,
}

/// Who says which of them is the primary.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Sentinels,
    /// They themselves, each for its shard. What happens to one primary happens to that of the first shard.
    Cluster,
}

/// One pod of them, read once.
#[derive(Clone, Debug)]
pub struct Pod {
    pub name: String,
    /// As Kubernetes has it.
    pub object: Value,
}

impl Members {
    pub fn of(tenant: &Tenant) -> Self {
        let topology =
            get_json(&["tenant", &tenant.name]).expect("the Tenant")["spec"]["redis"]["topology"].clone();
        let kind = if topology == "Cluster" { Kind::Cluster } else { Kind::Sentinels };
        Self { namespace: tenant.namespace(), kind }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn pod(&self, name: &str) -> Result<Pod, String> {
        Ok(Pod { name: name.to_owned(), object: get_json(&["pod", name, "-n", &self.namespace])? })
    }

    /// All that are there now.
    pub fn pods(&self) -> Result<Vec<Pod>, String> {
        let pods = get_json(&["pods", "-n", &self.namespace, "-l", SELECTOR])?;
        let pods = pods["items"].as_array().cloned().unwrap_or_default();
        let name = |object: &Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        Ok(pods.into_iter().map(|object| Pod { name: name(&object), object }).collect())
    }

    /// The member that most Sentinels name; of a cluster that of its first shard.
    pub fn primary(&self) -> Result<String, String> {
        match self.kind {
            Kind::Sentinels => self.named_primary(),
            Kind::Cluster => self.nodes(&self.first()?)?.primary_beside(&self.first()?),
        }
    }

    /// Those that follow it.
    pub fn replicas(&self) -> Result<Vec<String>, String> {
        let primary = self.primary()?;
        let shard = |name: &str| name.rsplit_once('-').map(|(shard, _)| shard.to_owned());
        let names = self.pods()?.into_iter().map(|pod| pod.name);
        Ok(names.filter(|name| *name != primary && shard(name) == shard(&primary)).collect())
    }

    /// As many members as are wanted are ready, all see all of them and the same primaries, and the others follow these.
    pub fn settled(&self) -> Result<(), String> {
        let pods = self.pods()?;
        let sets = get_json(&["statefulsets", "-n", &self.namespace, "-l", SELECTOR])?;
        let wanted: u64 = sets["items"]
            .as_array()
            .map_or(0, |sets| sets.iter().map(|set| set["spec"]["replicas"].as_u64().unwrap_or(1)).sum());
        if pods.len() as u64 != wanted {
            return Err(format!("{} of {wanted} pods are there", pods.len()));
        }
        if let Some(pod) = pods.iter().find(|pod| !pod.is_ready()) {
            return Err(format!("{} is not ready: {}", pod.name, pod.object["status"]));
        }
        let mut seen = Vec::new();
        for Pod { name, .. } in &pods {
            seen.push(match self.kind {
                Kind::Sentinels => {
                    let primary = self.ask_sentinel(name, &["MASTER", PRIMARY_NAME])?;
                    let replicas = self.ask_sentinel(name, &["REPLICAS", PRIMARY_NAME])?;
                    let view = View::of(&primary, &replicas);
                    if !view.is_whole() {
                        return Err(format!("{name}'s Sentinel sees {view:?}"));
                    }
                    vec![view.primary]
                }
                Kind::Cluster => {
                    let nodes = self.nodes(name)?;
                    nodes.whole(pods.len()).map_err(|why| format!("{name} sees {why}"))?;
                    nodes.primaries()
                }
            });
        }
        seen.dedup();
        if seen.len() == 1 { Ok(()) } else { Err(format!("they see different primaries: {seen:?}")) }
    }

    fn first(&self) -> Result<String, String> {
        let pods = self.pods()?;
        // One that ends may not answer any more.
        let pod = pods.iter().find(|pod| pod.object["metadata"]["deletionTimestamp"].is_null());
        pod.map(|pod| pod.name.clone()).ok_or_else(|| "there are no pods".to_owned())
    }

    fn named_primary(&self) -> Result<String, String> {
        let names = self.names_of_addresses()?;
        let pods = self.pods()?;
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        let mut answers = Vec::new();
        for Pod { name: sentinel, .. } in &pods {
            let answer = self.ask_sentinel(sentinel, &["GET-MASTER-ADDR-BY-NAME", PRIMARY_NAME]);
            if let Some(name) = answer.as_ref().ok().and_then(|it| names.get(it.lines().next()?)) {
                *votes.entry(name).or_default() += 1;
            }
            answers.push(answer);
        }
        let majority = votes.into_iter().find(|(_, count)| *count > pods.len() / 2);
        majority
            .map(|(name, _)| name.to_owned())
            .ok_or_else(|| format!("no primary has a majority: {answers:?}"))
    }

    fn nodes(&self, member: &str) -> Result<Nodes, String> {
        let nodes = self.ask(member, "redis", "6379", &["CLUSTER", "NODES"])?;
        Ok(Nodes::of(&nodes, &self.names_of_addresses()?))
    }

    fn ask_sentinel(&self, member: &str, arguments: &[&str]) -> Result<String, String> {
        self.ask(member, "sentinel", "26379", &[&["SENTINEL"], arguments].concat())
    }

    fn ask(&self, member: &str, container: &str, port: &str, command: &[&str]) -> Result<String, String> {
        let exec = ["exec", member, "-n", &self.namespace, "-c", container, "--", "timeout", "5"];
        let output = kubectl(&[&exec[..], &["sh", "-c", ASK, "sh", "-p", port], command].concat(), None);
        if output.success { Ok(output.stdout) } else { Err(format!("{member}: {}", output.stderr)) }
    }

    /// Members by the addresses of their Services, which are what Redis and Sentinel announce.
    fn names_of_addresses(&self) -> Result<BTreeMap<String, String>, String> {
        let services = get_json(&["services", "-n", &self.namespace, "-l", SELECTOR])?;
        let text = |object: &Value, pointer: &str| object.pointer(pointer)?.as_str().map(str::to_owned);
        let services = services["items"].as_array().cloned().unwrap_or_default();
        let named = |it: &Value| Some((text(it, "/spec/clusterIP")?, text(it, "/metadata/name")?));
        Ok(services.iter().filter_map(named).collect())
    }
}

impl Pod {
    pub fn uid(&self) -> &str {
        self.object["metadata"]["uid"].as_str().unwrap_or_default()
    }

    pub fn address(&self) -> Result<&str, String> {
        self.object["status"]["podIP"].as_str().ok_or_else(|| format!("{} has no address", self.name))
    }

    /// Those that run.
    pub fn containers(&self) -> Vec<String> {
        let containers = self.object["status"]["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
        containers.iter().filter_map(|it| it["name"].as_str().map(str::to_owned)).collect()
    }

    /// As containerd knows the container that runs.
    pub fn container_id(&self, container: &str) -> Result<&str, String> {
        let containers = self.object["status"]["containerStatuses"].as_array().map_or(&[][..], Vec::as_slice);
        let status = containers.iter().find(|status| status["name"] == container);
        let id = status.and_then(|status| status["containerID"].as_str());
        id.ok_or_else(|| format!("{} runs no container {container}", self.name))
    }

    fn is_ready(&self) -> bool {
        let conditions = self.object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let ready = conditions.iter().any(|it| it["type"] == "Ready" && it["status"] == "True");
        ready && self.object["metadata"]["deletionTimestamp"].is_null()
    }
}
