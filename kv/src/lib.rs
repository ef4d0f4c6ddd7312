//! One tenant's store on Redis: entries, index, accounts, queue. No HTTP, no Kubernetes.
