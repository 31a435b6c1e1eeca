//! The choice of kubeconfig, context and namespace.

use hyper_util::client::proxy::matcher::Matcher;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};

use super::{Access, Error};

/// What was chosen out of the kubeconfig.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub(crate) kubeconfig: Kubeconfig,
    pub(crate) context: String,
    pub(crate) cluster: String,
    pub(crate) namespace: String,
}

/// Reads the kubeconfig (named file, else the embedded one, else `$KUBECONFIG`, else
/// `~/.kube/config`) and chooses context and namespace.
pub(crate) fn choose(access: &Access) -> Result<Chosen, Error> {
    let kubeconfig = read(access).map_err(|source| failed(access, source))?;
    pick(kubeconfig, access)
}

/// kube's configuration of what was chosen.
pub(crate) async fn config(access: &Access, chosen: &Chosen) -> Result<Config, Error> {
    let options = KubeConfigOptions { context: Some(chosen.context.clone()), ..Default::default() };
    let mut config = Config::from_custom_kubeconfig(chosen.kubeconfig.clone(), &options)
        .await
        .map_err(|source| failed(access, source))?;
    config.default_namespace = chosen.namespace.clone();
    if !names_proxy(chosen) && Matcher::from_env().intercept(&config.cluster_url).is_none() {
        // kube compares NO_PROXY with the proxy's name; it is about the server's.
        config.proxy_url = None;
    }
    Ok(config)
}

/// Does the kubeconfig itself name a proxy? That one is used whatever the environment says.
fn names_proxy(chosen: &Chosen) -> bool {
    let mut clusters = chosen.kubeconfig.clusters.iter();
    let cluster = clusters.find(|named| named.name == chosen.cluster);
    let proxy = cluster.and_then(|named| named.cluster.as_ref()?.proxy_url.as_ref());
    proxy.is_some_and(|proxy| !proxy.is_empty())
}

fn read(access: &Access) -> Result<Kubeconfig, KubeconfigError> {
    match (&access.kubeconfig, &access.embedded) {
        (Some(path), _) => Kubeconfig::read_from(path),
        (None, Some(text)) => Kubeconfig::from_yaml(text),
        (None, None) => Kubeconfig::read(),
    }
}

fn failed(access: &Access, source: KubeconfigError) -> Error {
    let cause = match source {
        KubeconfigError::ReadConfig(why, _) => why.to_string(),
        // What follows are lines of the file, which may hold keys.
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    };
    Error::Kubeconfig { path: access.kubeconfig.clone(), cause }
}

fn pick(kubeconfig: Kubeconfig, access: &Access) -> Result<Chosen, Error> {
    let context = access
        .context
        .clone()
        .or_else(|| kubeconfig.current_context.clone())
        .filter(|name| !name.is_empty())
        .ok_or(Error::NoContext)?;
    let found = kubeconfig
        .contexts
        .iter()
        .find(|named| named.name == context)
        .and_then(|named| named.context.as_ref())
        .ok_or_else(|| Error::NoSuchContext(context.clone()))?;
    let given = |namespace: &Option<String>| namespace.clone().filter(|name| !name.is_empty());
    let namespace =
        given(&access.namespace).or_else(|| given(&found.namespace)).unwrap_or_else(|| "default".to_owned());
    let cluster = found.cluster.clone();
    Ok(Chosen { kubeconfig, context, cluster, namespace })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
current-context: here
clusters:
- {name: east, cluster: {server: 'https://east:6443'}}
- {name: west, cluster: {server: 'https://west:6443/k8s/c1'}}
contexts:
- {name: here, context: {cluster: east, user: me, namespace: team}}
- {name: there, context: {cluster: west, user: me}}
users:
- {name: me, user: {token: secret}}
";

    fn access(context: Option<&str>, namespace: Option<&str>) -> Access {
        Access {
            embedded: Some(TEXT.into()),
            context: context.map(Into::into),
            namespace: namespace.map(Into::into),
            kubeconfig: None,
        }
    }

    #[test]
    fn the_namespace_is_the_flags_then_the_contexts_then_default() {
        let namespace =
            |context, namespace| choose(&access(context, namespace)).map(|chosen| chosen.namespace).unwrap();

        assert_eq!(namespace(None, Some("mine")), "mine");
        assert_eq!(namespace(None, None), "team");
        assert_eq!(namespace(Some("there"), None), "default");
    }

    #[test]
    fn an_unknown_context_is_named() {
        let error = choose(&access(Some("nowhere"), None)).unwrap_err();

        assert_eq!(error.to_string(), "context 'nowhere' not exist, check your kubeconfig file please");
    }

    #[test]
    fn a_named_file_goes_before_the_embedded_text() {
        let path = "/does/not/exist".into();

        let error = choose(&Access { kubeconfig: Some(path), ..access(None, None) }).unwrap_err();

        let why = "No such file or directory (os error 2)";
        assert_eq!(error.to_string(), format!("reading the kubeconfig /does/not/exist: {why}"));
    }

    #[test]
    fn no_line_of_a_file_that_is_none_is_told() {
        let text = "users:\n- token: very-secret\n  : : [";

        let error = choose(&Access { embedded: Some(text.into()), ..access(None, None) }).unwrap_err();

        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[tokio::test]
    async fn the_path_of_the_server_is_kept() {
        let access = access(Some("there"), None);
        let chosen = choose(&access).unwrap();

        let config = config(&access, &chosen).await.unwrap();

        assert_eq!(config.cluster_url.to_string(), "https://west:6443/k8s/c1");
        assert_eq!(chosen.cluster, "west");
    }
}
