//! Who may ask: the API server, which has authenticated and authorized the caller before it asks us in its place
//! (<https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer/#authentication-flow>).

use std::collections::BTreeMap;

use x509_parser::parse_x509_certificate;

/// What the ConfigMap `extension-apiserver-authentication` says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontProxy {
    /// Certificates of the authority that signs its certificates, as PEM.
    pub ca: String,
    /// Common names of its certificates; none: any that the authority has signed.
    pub names: Vec<String>,
}

impl FrontProxy {
    /// None where the API server has no front proxy.
    pub fn read(data: &BTreeMap<String, String>) -> Option<Self> {
        let ca = data.get("requestheader-client-ca-file").filter(|it| !it.trim().is_empty())?;
        let names = data.get("requestheader-allowed-names").map_or("[]", String::as_str);
        // What cannot be read must not let in anybody.
        Some(Self { ca: ca.clone(), names: serde_json::from_str(names).ok()? })
    }

    /// Whether a certificate that the authority has signed is one of the front proxy.
    pub fn is_named(&self, certificate: &[u8]) -> bool {
        let Ok((_, certificate)) = parse_x509_certificate(certificate) else { return false };
        let mut names = certificate.subject().iter_common_name().filter_map(|it| it.as_str().ok());
        self.names.is_empty() || names.any(|name| self.names.iter().any(|allowed| allowed == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(ca: &str, names: &str) -> BTreeMap<String, String> {
        [("requestheader-client-ca-file", ca), ("requestheader-allowed-names", names)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn without_an_authority_or_with_names_that_cannot_be_read_nobody_may_ask() {
        let read = FrontProxy::read(&data("pem", r#"["front-proxy-client"]"#)).unwrap();
        assert_eq!((read.ca.as_str(), read.names), ("pem", vec!["front-proxy-client".to_owned()]));
        assert_eq!(FrontProxy::read(&data("pem", "[]")).unwrap().names, [""; 0]);
        assert_eq!(FrontProxy::read(&data(" ", "[]")), None);
        assert_eq!(FrontProxy::read(&data("pem", "front-proxy-client")), None);
        assert_eq!(FrontProxy::read(&BTreeMap::new()), None);
    }
}
