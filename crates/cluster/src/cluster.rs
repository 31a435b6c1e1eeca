//! The door to a cluster: who we are there, its time, and the typed handles that the topics use.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::api::PostParams;
use kube::{Api, Client, Resource, ResourceExt};

use crate::access::{self, Access, Made};
use crate::api::{ApiError, Right};
use crate::overview::list_pages;
use crate::settings::Settings;
use crate::tunnel::Preference;

/// A cluster that answered, seen by one user in one namespace. Clones are cheap and share all.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    namespace: Arc<str>,
}

struct Shared {
    made: Made,
    version: Info,
    settings: Settings,
    dialect: Preference,
}

impl Cluster {
    /// Connects by the rules of the kubeconfig and asks the API server for its version.
    ///
    /// Fails with the cause when the kubeconfig can not be used or the server does not answer.
    pub async fn connect(access: &Access) -> Result<Cluster, access::Error> {
        Cluster::connect_with(access, Settings::default()).await
    }

    /// The same with other intervals.
    pub async fn connect_with(access: &Access, settings: Settings) -> Result<Cluster, access::Error> {
        let made = access.open(&settings).await?;
        let greeting = tokio::time::timeout(settings.connect, made.client.apiserver_version()).await;
        let version = match greeting {
            Ok(version) => version.map_err(ApiError::from),
            Err(_) => Err(ApiError::TimedOut),
        };
        let server = || access::way(&made.server, made.proxy.as_ref());
        let version = version.map_err(|source| access::Error::Server { server: server(), source })?;
        let dialect = Preference::default();
        let namespace = made.chosen.namespace.as_str().into();
        Ok(Cluster { shared: Arc::new(Shared { made, version, settings, dialect }), namespace })
    }

    /// The same cluster, seen in another namespace.
    pub fn in_namespace(&self, namespace: &str) -> Cluster {
        Cluster { shared: self.shared.clone(), namespace: namespace.into() }
    }

    /// Names of all namespaces. Fails where they may not be listed, which is a right of the whole
    /// cluster.
    pub async fn namespaces(&self) -> Result<Vec<String>, ApiError> {
        let all = list_pages(&Api::<Namespace>::all(self.client()), None).await?;
        Ok(all.iter().map(ResourceExt::name_any).collect())
    }

    /// Is the namespace certainly gone? Who may not look at it does not know.
    pub async fn is_gone(&self) -> bool {
        let read = Api::<Namespace>::all(self.client()).get_metadata_opt(self.namespace()).await;
        matches!(read, Ok(None))
    }

    /// Name of the context in use.
    pub fn context(&self) -> &str {
        &self.shared.made.chosen.context
    }

    /// Name of the cluster in the kubeconfig.
    pub fn name(&self) -> &str {
        &self.shared.made.chosen.cluster
    }

    /// URL of the API server.
    pub fn server(&self) -> String {
        self.shared.made.server.to_string()
    }

    /// The server's version, e.g. `v1.34.4`.
    pub fn version(&self) -> &str {
        &self.shared.version.git_version
    }

    /// Its first two numbers, e.g. 1 and 34; of what can not be read, 0.
    pub(crate) fn version_number(&self) -> (u32, u32) {
        (number(&self.shared.version.major), number(&self.shared.version.minor))
    }

    /// The namespace of helper pods and targets.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Intervals and limits in use.
    pub fn settings(&self) -> &Settings {
        &self.shared.settings
    }

    /// Every address of the API server and of a proxy before it, also those seen earlier in this
    /// run: never to be routed into the tunnel. Names that can not be looked up add nothing.
    pub async fn server_addresses(&self) -> BTreeSet<IpAddr> {
        let made = &self.shared.made;
        for uri in [Some(&made.server), made.proxy.as_ref()].into_iter().flatten() {
            if let Some(host) = uri.host()
                && let Err(error) = made.addresses.look_up(host).await
            {
                tracing::debug!(%error, "an address of the API server stays unknown");
            }
        }
        made.addresses.all()
    }

    /// Cluster time in unix seconds, by the `Date` of the last answer.
    pub fn time(&self) -> i64 {
        self.shared.made.clock.now()
    }

    /// Seconds by which the cluster's clock is ahead of the laptop's.
    pub fn time_offset(&self) -> i64 {
        self.shared.made.clock.offset()
    }

    /// Takes the laptop's clock for the cluster's from now on (`--useLocalTime`).
    pub fn use_local_time(&self) {
        self.shared.made.clock.use_local();
    }

    /// Does the user have this right in the namespace? `resource` may name a sub-resource
    /// (`pods/portforward`).
    pub async fn may(&self, verb: &str, group: &str, resource: &str) -> Result<bool, ApiError> {
        let (resource, sub) = resource.split_once('/').unwrap_or((resource, ""));
        let attributes = ResourceAttributes {
            namespace: Some(self.namespace().to_owned()),
            verb: Some(verb.to_owned()),
            group: Some(group.to_owned()),
            resource: Some(resource.to_owned()),
            subresource: (!sub.is_empty()).then(|| sub.to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        let reviews: Api<SelfSubjectAccessReview> = Api::all(self.client());
        let answer = reviews.create(&PostParams::default(), &review).await?;
        Ok(answer.status.is_some_and(|status| status.allowed))
    }

    /// Those of the `wanted` rights (verb, group, resource) in the namespace that the user lacks.
    pub async fn missing_rights(&self, wanted: &[(&str, &str, &str)]) -> Result<Vec<Right>, ApiError> {
        let asked = wanted.iter().map(|(verb, group, resource)| self.may(verb, group, resource));
        let granted = futures_util::future::try_join_all(asked).await?;
        let missing = wanted.iter().zip(granted).filter(|(_, granted)| !granted);
        Ok(missing
            .map(|((verb, group, resource), _)| Right {
                verb: (*verb).to_owned(),
                group: (*group).to_owned(),
                resource: (*resource).to_owned(),
                namespace: Some(self.namespace().to_owned()),
            })
            .collect())
    }

    pub(crate) fn client(&self) -> Client {
        self.shared.made.client.clone()
    }

    pub(crate) fn dialect(&self) -> &Preference {
        &self.shared.dialect
    }

    pub(crate) fn platform(&self) -> &str {
        &self.shared.version.platform
    }

    /// The objects of one kind in the namespace.
    pub(crate) fn objects<K>(&self) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        Api::namespaced(self.client(), self.namespace())
    }
}

/// Some providers add a `+`.
fn number(version: &str) -> u32 {
    version.trim_end_matches(|end: char| !end.is_ascii_digit()).parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_of_a_provider_is_a_number_too() {
        assert_eq!((number("1"), number("23+"), number("")), (1, 23, 0));
    }
}
