//! A ServiceAccount per component, without a token: nothing of a tenant talks to the API server.

use k8s_openapi::api::core::v1::ServiceAccount;

use super::{Object, object, owned};
use crate::{
    kinds::Kind,
    tenant::{names, validate::ValidTenant},
};

pub(super) fn build(tenant: &ValidTenant, component: &str) -> Object {
    let namespace = names::namespace(&tenant.name);
    let account = ServiceAccount {
        metadata: owned(tenant, &namespace, component, Some(component)),
        automount_service_account_token: Some(false),
        ..ServiceAccount::default()
    };
    object(Kind::ServiceAccount, &account)
}
