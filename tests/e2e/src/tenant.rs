//! A Tenant for one scenario, deleted with its data when the scenario ends.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    http::Gateway,
    kubectl::{apply, delete, get_json, kubectl, kubectl_ok},
    wait::{eventually, within},
};

/// An applied Tenant.
#[derive(Debug)]
pub struct Tenant {
    pub name: String,
}

/// A registered user.
#[derive(Clone, Debug)]
pub struct User {
    pub username: String,
    pub password: String,
    pub access_token: String,
    pub refresh_token: String,
}

impl Tenant {
    /// A Tenant with open sign-up that is deleted with its data; `spec` is merged over that.
    pub fn apply(name: &str, spec: &Value) -> Self {
        let mut manifest = json!({
            "apiVersion": "keystead.io/v1alpha1",
            "kind": "Tenant",
            "metadata": {"name": name},
            "spec": {"deletionPolicy": "Delete", "auth": {"signUp": "Open"}},
        });
        merge(&mut manifest["spec"], spec);
        // What is applied to one that is being deleted, as after a run before this, goes with it.
        within(Duration::from_mins(2), "the tenant of the same name is gone", || {
            match get_json(&["tenant", name]) {
                Ok(old) if !old["metadata"]["deletionTimestamp"].is_null() => Err(old["status"].to_string()),
                _ => Ok(()),
            }
        });
        let output = apply(&manifest.to_string());
        assert!(output.success, "applying {name}: {}", output.stderr);
        Self { name: name.into() }
    }

    /// Applies and waits until it is Ready.
    pub fn ready(name: &str, spec: &Value) -> Self {
        let tenant = Self::apply(name, spec);
        tenant.wait_ready();
        tenant
    }

    /// Merges this into the spec.
    pub fn patch(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        kubectl_ok(&["patch", "tenant", &self.name, "--type=merge", "-p", &patch]);
    }

    pub fn namespace(&self) -> String {
        format!("tenant-{}", self.name)
    }

    /// `kubectl wait --for=condition=Ready`; panics with the Tenant's status when it does not come.
    pub fn wait_ready(&self) {
        let resource = format!("tenant/{}", self.name);
        within(Duration::from_mins(4), "the tenant is Ready", || {
            let waited = kubectl(&["wait", "--for=condition=Ready", &resource, "--timeout=30s"], None);
            if waited.success {
                return Ok(());
            }
            let status = get_json(&["tenant", &self.name]).map(|tenant| tenant["status"].clone());
            let pods = kubectl(&["get", "pods", "-n", &self.namespace(), "-o", "wide"], None).stdout;
            Err(format!("{}\nstatus: {status:#?}\n{pods}", waited.stderr))
        });
    }

    /// Waits until the status is about the present spec, everything is as it says, and all members of Redis are there.
    pub fn wait_settled(&self) {
        within(Duration::from_mins(5), "the tenant is as its spec says", || {
            let tenant = get_json(&["tenant", &self.name])?;
            let status = &tenant["status"];
            let is_current = status["observedGeneration"] == tenant["metadata"]["generation"];
            let members = status["redis"]["members"].as_array().cloned().unwrap_or_default();
            let count = |role: &str| members.iter().filter(|it| it["role"] == role).count();
            let is_whole = count("Primary") + count("Replica") == members.len();
            if is_current && status["phase"] == "Ready" && is_whole {
                Ok(())
            } else {
                Err(format!("{status:#}"))
            }
        });
    }

    /// Registers a user through the gateway, as soon as it has the route.
    pub fn register(&self, gateway: &Gateway, username: &str) -> User {
        let password = format!("Pass-word-{}-{username}-1", self.name);
        let body = json!({
            "username": username,
            "email": format!("{username}@example.com"),
            "password": password,
            "tenant": self.name,
        });
        let login = json!({"username": username, "password": password, "tenant": self.name});
        let mut is_first = true;
        let answer = within(Duration::from_mins(1), "a user can register", || {
            let answer = gateway.post("/api/v1/auth/register", None, &body);
            match answer.status {
                201 => Ok(answer),
                // An attempt before, whose answer was lost, has made the account.
                409 if !is_first => {
                    let answer = gateway.post("/api/v1/auth/login", None, &login);
                    if answer.status == 200 { Ok(answer) } else { Err(answer) }
                }
                _ => {
                    is_first = false;
                    Err(answer)
                }
            }
        });
        let text = |field: &str| answer.body[field].as_str().expect(field).to_owned();
        User {
            username: username.into(),
            password,
            access_token: text("access_token"),
            refresh_token: text("refresh_token"),
        }
    }

    /// A field of an object in the tenant's namespace, by JSON pointer.
    pub fn field(&self, kind: &str, name: &str, pointer: &str) -> Value {
        let object = get_json(&[kind, name, "-n", &self.namespace()]).expect("the object is there");
        object.pointer(pointer).cloned().unwrap_or(Value::Null)
    }

    /// Deletes it and waits until it and its namespace are gone.
    /// Name and address of a running pod of this component.
    pub fn pod(&self, component: &str) -> (String, String) {
        let labels = format!("app.kubernetes.io/component={component}");
        eventually("a running pod", || {
            let pods = get_json(&["pods", "-n", &self.namespace(), "-l", &labels])?;
            let running = pods["items"].as_array().into_iter().flatten().find(|pod| {
                pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null()
            });
            let pod = running.ok_or_else(|| pods.to_string())?;
            let text = |pointer: &str| pod.pointer(pointer).and_then(Value::as_str).unwrap_or("").to_owned();
            Ok::<_, String>((text("/metadata/name"), text("/status/podIP")))
        })
    }

    /// Whether a TCP connection from the pod opens within two seconds.
    pub fn opens(&self, pod: &str, address: &str, port: u64) -> bool {
        let script = format!("exec 3<>/dev/tcp/{address}/{port}");
        let command = ["exec", "-n", &self.namespace(), pod, "--", "timeout", "2", "bash", "-c", &script];
        let output = kubectl(&command, None);
        // A missing bash or a pod that is gone must not look like a refusal.
        let known = output.success || matches!(output.code, Some(1 | 124));
        assert!(known && !output.stderr.contains("not found"), "exec in {pod}: {output:?}");
        output.success
    }

    pub fn delete(self) {
        delete("tenant", &self.name);
        let namespace = self.namespace();
        eventually("the Tenant and its namespace are gone", || {
            let left = kubectl_ok(&["get", "tenant,namespace", "-o", "name"]);
            let gone = |line: &&str| line.ends_with(&format!("/{}", self.name)) || line.ends_with(&namespace);
            let left: Vec<String> = left.lines().filter(gone).map(str::to_owned).collect();
            if left.is_empty() { Ok(()) } else { Err(left) }
        });
    }
}

impl Drop for Tenant {
    fn drop(&mut self) {
        // A failed scenario leaves its objects for the eye of the developer; the next run takes them up again.
        if !std::thread::panicking() {
            kubectl(&["delete", "tenant", &self.name, "--ignore-not-found", "--wait=false"], None);
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}
