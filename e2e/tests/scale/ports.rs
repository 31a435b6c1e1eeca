//! Ports of a workload whatever leads to it.

use super::*;

#[test]
fn datagrams_come_here_when_no_service_leads_to_the_deployment() {
    let (cluster, laptop) = bed("scaleudp");
    cluster.kubectl(&["delete", "service", "tomcat"]).expect("deleted");
    let _local = laptop.serve_lines(7000);

    let mut exchange = exchange(&laptop, &["deployment/tomcat", "--expose", "7000/udp"]);

    assert!(exchange.text().contains("Reverse tunnel 7000/udp -> 7000 established"), "{}", exchange.text());
    let shadow = format!("pod/{}", shadows(&cluster)[0]);
    let address = ["get", &shadow, "-o", "jsonpath={.status.podIP}:7000"];
    let address = cluster.kubectl(&address).expect("the shadow's address");
    cluster.wait_for_line("udp", &address, laptop.name(), 10);
    assert!(cluster.send("tcp", &address, "hello").is_err(), "TCP was not asked for");
    assert_eq!(exchange.interrupt(60).code, 0);
    assert_eq!(replicas(&cluster), (1, 1));
}
