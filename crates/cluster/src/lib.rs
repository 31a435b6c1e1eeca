//! What `ktctl` does in Kubernetes: access, targets, shadows, redirect and restore, heartbeat,
//! leftovers, ranges and the way to a port of a pod.
//!
//! This crate is the only user of `kube`. It knows nothing of frames, of the operating system or of
//! the terminal: what goes through a [`tunnel::Forward`] is bytes, and what happens is handed out as
//! values and errors.
//!
//! Everything begins with [`Cluster::connect`]. A command then reads:
//!
//! ```no_run
//! # async fn story(
//! #     access: kt_cluster::Access, wanted: kt_cluster::shadow::ShadowWanted,
//! #     owner: kt_cluster::redirect::Owner,
//! # ) -> Result<(), Box<dyn std::error::Error>> {
//! use kt_cluster::{Cluster, target::{Expose, TargetName}};
//!
//! let cluster = Cluster::connect(&access).await?;
//! let target = cluster.find_target(&TargetName::parse("service/echo")?).await?;
//! let ports = target.resolve(&Expose::parse_list("8080:80")?)?;
//! let lock = cluster.lock(&target.service, &owner, &|wait| println!("{wait}")).await?;
//! let shadow = cluster.ensure_shadow(&wanted, &|progress| println!("{progress}")).await?;
//! let carrier = cluster.port_forward(&shadow.name, 17617).await?;
//! let stuntman = cluster.make_stuntman(&target.service).await?;
//! let redirected = cluster.redirect(&target.service, &shadow.mark(), &stuntman).await?;
//! cluster.unlock(&lock).await?;
//! # drop((ports, carrier));
//! cluster.restore(&redirected).await?;
//! cluster.delete_shadow(&shadow.name).await?;
//! # Ok(())
//! # }
//! ```

pub mod access;
pub mod api;
mod cluster;
pub mod environment;
pub mod ephemeral;
pub mod heartbeat;
pub mod leftovers;
pub mod marks;
pub mod mesh;
pub mod names;
pub mod overview;
pub mod preview;
pub mod ranges;
pub mod redirect;
pub mod rights;
pub mod scale;
pub mod settings;
pub mod shadow;
pub mod target;
pub mod tunnel;
mod watch;
pub mod workload;

pub use access::Access;
pub use cluster::Cluster;
pub use settings::Settings;
