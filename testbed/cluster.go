package main

import (
	"crypto/x509"
	"embed"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// The machines share one network, a bridge in node1's namespace: nodes from number 1,
// laptops from 129, the office, and this machine itself. Pods and services are in ranges
// of their own, which only nodes know how to reach. config/ knows these addresses, too.
const (
	apiURL     = "https://198.18.0.1:6443"
	apiReady   = apiURL + "/readyz"
	hostDevice = "kt-testbed"
	office     = 250
	host       = 254
	podRange   = "10.244.0.0/16"
	svcRange   = "10.96.0.0/16"
	podRange6  = "fd00:10:244::/56"
	svcRange6  = "fd00:10:96::/112"
	cgroup     = "kt-testbed"
)

func address(number int) string  { return fmt.Sprintf("198.18.0.%d", number) }
func address6(number int) string { return fmt.Sprintf("fd00:198:18::%d", number) }
func podCIDR(node int) string    { return fmt.Sprintf("10.244.%d.0/24", node) }
func podCIDR6(node int) string   { return fmt.Sprintf("fd00:10:244:%x::/64", node) }

// A Cluster is what `up` was asked for.
type Cluster struct {
	Nodes     int
	Kinds     []string // of laptop1, laptop2, ...
	DualStack bool
	Domain    string
}

// complete holds the Cluster that is up; it is written when all of it works.
func complete() string { return in("cluster/complete") }

// serves tells whether the running cluster has all that the wanted one has.
func (c Cluster) serves(wanted Cluster) bool {
	return c.Nodes >= wanted.Nodes && len(c.Kinds) >= len(wanted.Kinds) &&
		slices.Equal(c.Kinds[:len(wanted.Kinds)], wanted.Kinds) && c.DualStack == wanted.DualStack && c.Domain == wanted.Domain
}

// running returns the cluster that is up and answers.
func running() (c Cluster, ok bool) {
	text, err := os.ReadFile(complete())
	if err != nil || json.Unmarshal(text, &c) != nil {
		return c, false
	}
	_, pids := machines()
	return c, pids["node1"] != "" && answers(apiReady)
}

// ranges joins an IPv4 range and, where there are both, the IPv6 one.
func (c Cluster) ranges(v4, v6 string) string {
	if c.DualStack {
		return v4 + "," + v6
	}
	return v4
}

//go:embed config
var config embed.FS

// What kubelet insists on, shown to the nodes instead of the host's true settings,
// which are not the test bed's to change.
var kernelSettings = map[string]string{
	"vm/overcommit_memory": "1", "vm/panic_on_oom": "0", "kernel/panic": "10", "kernel/panic_on_oops": "1",
	"kernel/keys/root_maxkeys": "1000000", "kernel/keys/root_maxbytes": "25000000",
}

var begin = time.Now()

func step(format string, args ...any) {
	fmt.Printf("%6.1fs  %s\n", time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
}

func up(args []string) error {
	var c Cluster
	flags := flag.NewFlagSet("up", flag.ExitOnError)
	flags.IntVar(&c.Nodes, "nodes", 1, "number of nodes")
	laptops := flags.Int("laptops", 1, "number of laptops")
	kinds := flags.String("laptop-kind", "plain", "plain, resolved, firewall, rpfilter, vpn; or a list, one for each laptop")
	flags.BoolVar(&c.DualStack, "dual-stack", false, "pods and services have IPv6 addresses, too")
	flags.StringVar(&c.Domain, "cluster-domain", "cluster.local", "the DNS domain of the cluster")
	flags.Parse(args)
	if err := checkKinds(*kinds); err != nil {
		return err
	}
	for i := 1; i <= *laptops; i++ {
		c.Kinds = append(c.Kinds, kindOf(*kinds, i))
	}
	names, _ := machines()
	switch current, up := running(); {
	case up && current.serves(c):
		step("the cluster is up")
		return applyUsers()
	case up:
		step("the cluster has %d node(s) and %d laptop(s) %s; it is started anew", current.Nodes, len(current.Kinds), strings.Join(current.Kinds, ","))
	}
	if _, err := net.InterfaceByName(hostDevice); err == nil && len(names) == 0 {
		return errors.New("another test bed is up on this machine")
	}
	if err := down(); err != nil { // remains of an earlier one
		return err
	}
	begin = time.Now()
	plugins, err := prerequisites()
	if err != nil {
		return err
	}
	if err := buildImages(); err != nil {
		return err
	}
	step("images packed")
	if err := c.certificates(); err != nil {
		return err
	}
	step("certificates issued")
	for i := 1; i <= c.Nodes; i++ {
		if err := c.startNode(i, plugins); err != nil {
			return err
		}
	}
	if err := startOffice(); err != nil {
		return err
	}
	for i, kind := range c.Kinds {
		if err := startLaptop(i+1, kind); err != nil {
			return err
		}
	}
	step("%d node(s), %d laptop(s) and the office started", c.Nodes, len(c.Kinds))
	return c.await()
}

// prerequisites names what is missing, and finds the CNI plugins' folder.
func prerequisites() (cniPlugins string, err error) {
	if os.Geteuid() != 0 {
		return "", errors.New("namespaces and mounts need root")
	}
	for _, tool := range []string{"containerd", "containerd-shim-runc-v2", "ctr", "runc", "ip", "nft", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", fmt.Errorf("%w: see the packages in README.md", err)
		}
	}
	for _, d := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(d, "bridge")); err == nil {
			return d, nil
		}
	}
	return "", errors.New("no CNI plugins: see the packages in README.md")
}

func (c Cluster) certificates() error {
	ca, err := newCA()
	if err != nil {
		return err
	}
	errs := []error{
		ca.server("apiserver", []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
			"kubernetes.default.svc." + c.Domain, "api.corp.example"}, "127.0.0.1", address(1), "10.96.0.1"),
		ca.user("apiserver-kubelet", "kube-apiserver", "", "system:masters"),
		ca.user("admin", "admin", "", "system:masters"),
		ca.user("controller-manager", "system:kube-controller-manager", ""),
		ca.user("scheduler", "system:kube-scheduler", ""),
		ca.user("kube-proxy", "system:kube-proxy", ""),
	}
	for _, name := range []string{"developer", "editor", "guest", "viewer"} {
		errs = append(errs, ca.user(name, name, "dev"))
	}
	for i := 1; i <= c.Nodes; i++ {
		name := fmt.Sprintf("node%d", i)
		errs = append(errs, ca.user(name, "system:node:"+name, "", "system:nodes"))
	}
	_, _, err = ca.issue("service-account", &x509.Certificate{})
	return errors.Join(append(errs, err)...)
}

func (c Cluster) startNode(i int, plugins string) error {
	m := Machine{Name: fmt.Sprintf("node%d", i)}
	m.Mounts = []Mount{
		tmpfs("/run", "755"), bind(dir, "/run/testbed"), bind(plugins, "/run/cni"),
		bind(m.file("log"), "/run/log"), bind(m.file("var"), "/var"),
	}
	for name := range kernelSettings {
		m.Mounts = append(m.Mounts, bind(m.file("kernel", name), "/proc/sys/"+name))
	}
	if err := c.layOutNode(i, m); err != nil {
		return err
	}
	// Programs of the node itself reach services, too (the API server its webhooks): for
	// that the kernel wants a route, which kube-proxy's rules then never let be used.
	m.Setup = [][]string{
		{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"},
		{"nft", "-f", etc + "node.nft"},
		{"ip", "route", "add", svcRange, "dev", lanDevice(i)},
	}
	if c.DualStack {
		m.Setup = append(m.Setup, []string{"sh", "-c", "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding"},
			[]string{"ip", "route", "add", svcRange6, "dev", lanDevice(i)})
	}
	for j := 1; j <= c.Nodes; j++ {
		if j == i {
			continue
		}
		m.Setup = append(m.Setup, []string{"ip", "route", "add", podCIDR(j), "via", address(j)})
		if c.DualStack {
			m.Setup = append(m.Setup, []string{"ip", "route", "add", podCIDR6(j), "via", address6(j)})
		}
	}
	if i == 1 {
		m.Services = c.controlPlane()
	}
	m.Services = append(m.Services, c.nodeServices(i, m.Name)...)
	return m.start(func(pid string) error {
		if i > 1 {
			return connect(pid, m.Name, i)
		}
		return layLAN(pid)
	})
}

// lanDevice is a node's device in the machines' network: node1's is the bridge itself.
func lanDevice(node int) string {
	if node == 1 {
		return "lan"
	}
	return "eth0"
}

// layLAN makes the bridge, in node1, and connects it with this machine. The bridge has an
// address of its own, as it would else take over that of each lower one that is plugged
// in. Routes with an answer nobody gives keep packets for pods from leaving this machine
// by its default route; they go away with the device.
func layLAN(pid string) error {
	return sh(`nsenter -t $1 -n sh -ec "ip link set lo up; ip link add lan address 02:00:00:00:00:01 type bridge mcast_snooping 0; ip addr add $2/24 dev lan; ip link set lan up
			[ ! -d /proc/sys/net/ipv6 ] || ip addr add $3/64 dev lan nodad"
		ip link add $5 type veth peer name host netns $1
		nsenter -t $1 -n ip link set host master lan up
		ip addr add $4/24 dev $5; ip link set $5 up
		for range in $6 $7; do ip route add $range via 198.18.0.253 dev $5 metric 9999; done`,
		pid, address(1), address6(1), address(host), hostDevice, podRange, svcRange)
}

// layOutNode writes a node's /var and kernel settings, and makes its control groups.
func (c Cluster) layOutNode(i int, m Machine) error {
	pods := fmt.Sprintf(`[{"subnet": "%s"}]`, podCIDR(i))
	if c.DualStack {
		pods += fmt.Sprintf(`, [{"subnet": "%s"}]`, podCIDR6(i))
	}
	files := map[string]string{
		etc + "resolv.conf":          "# no name server outside the cluster\n",
		etc + "cni/10-pods.conflist": strings.Replace(asset("cni.conflist"), "POD_RANGES", pods, 1),
		etc + "kube-proxy.yaml":      strings.Replace(asset("kube-proxy.yaml"), "POD_RANGES", c.ranges(podRange, podRange6), 1),
		etc + "kubelet.yaml":         strings.Replace(asset("kubelet.yaml"), "CLUSTER_DOMAIN", c.Domain, 1),
		etc + "containerd.toml":      asset("containerd.toml"),
		etc + "node.nft":             asset("node.nft"),
	}
	if c.DualStack {
		files[etc+"node.nft"] += asset("node6.nft")
	}
	for name, value := range kernelSettings {
		files["kernel/"+name] = value + "\n"
	}
	for name, content := range files {
		if err := m.write(name, content, 0o644); err != nil {
			return err
		}
	}
	for _, root := range cgroupRoots() {
		if err := os.MkdirAll(filepath.Join(root, cgroup, m.Name), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(os.MkdirAll(m.file("log"), 0o755), os.MkdirAll(m.file("var/log"), 0o755),
		os.Symlink("/run", m.file("var/run")))
}

// connect plugs a machine into the bridge in node1.
func connect(pid, name string, number int) error {
	_, pids := machines()
	return sh(`ip link add eth0 netns $1 type veth peer name $2 netns $3
		nsenter -t $3 -n ip link set $2 master lan up
		nsenter -t $1 -n sh -ec "ip link set lo up; ip addr add $4/24 dev eth0
			[ ! -d /proc/sys/net/ipv6 ] || ip addr add $5/64 dev eth0 nodad
			ip link set eth0 up"`,
		pid, name, pids["node1"], address(number), address6(number))
}

func sh(script string, args ...string) error {
	return run(append([]string{"sh", "-ec", script, "sh"}, args...)...)
}

func asset(name string) string {
	text, err := fs.ReadFile(config, "config/"+name)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// Paths and addresses as a node sees them.
const (
	kube   = "/run/testbed/bin/kube"
	keys   = "/run/testbed/cluster/pki/"
	etc    = "/var/lib/testbed/"
	etcd   = "127.0.0.1:2379"
	socket = "/run/containerd/containerd.sock"
)

func (c Cluster) controlPlane() []Service {
	return []Service{
		{Name: "etcd", Args: []string{kube, "etcd", "--data-dir=/var/lib/etcd", "--unsafe-no-fsync",
			"--listen-client-urls=http://" + etcd, "--advertise-client-urls=http://" + etcd,
			"--listen-peer-urls=http://127.0.0.1:2380", "--log-level=warn"}},
		{Name: "kube-apiserver", After: []string{etcd}, Args: []string{kube, "kube-apiserver",
			"--advertise-address=" + address(1), "--kubelet-preferred-address-types=InternalIP",
			"--etcd-servers=http://" + etcd, "--service-cluster-ip-range=" + c.ranges(svcRange, svcRange6),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
			"--client-ca-file=" + keys + "ca.crt",
			"--tls-cert-file=" + keys + "apiserver.crt", "--tls-private-key-file=" + keys + "apiserver.key",
			"--kubelet-client-certificate=" + keys + "apiserver-kubelet.crt",
			"--kubelet-client-key=" + keys + "apiserver-kubelet.key",
			"--service-account-issuer=https://kubernetes.default.svc." + c.Domain,
			"--service-account-key-file=" + keys + "service-account.key",
			"--service-account-signing-key-file=" + keys + "service-account.key",
			"--enable-priority-and-fairness=false", "--profiling=false"}},
		{Name: "kube-controller-manager", After: []string{apiReady}, Args: []string{kube, "kube-controller-manager",
			"--kubeconfig=" + keys + "controller-manager.kubeconfig", "--use-service-account-credentials",
			"--root-ca-file=" + keys + "ca.crt", "--service-account-private-key-file=" + keys + "service-account.key",
			"--kube-api-qps=1000", "--kube-api-burst=1000", "--leader-elect=false", "--profiling=false"}},
		{Name: "kube-scheduler", After: []string{apiReady}, Args: []string{kube, "kube-scheduler",
			"--kubeconfig=" + keys + "scheduler.kubeconfig", "--leader-elect=false", "--profiling=false"}},
	}
}

func (c Cluster) nodeServices(i int, name string) []Service {
	return []Service{
		{Name: "containerd", Args: []string{"containerd", "--config=" + etc + "containerd.toml"}},
		{Name: "kubelet", After: []string{socket, apiReady}, Args: []string{kube, "kubelet",
			"--config=" + etc + "kubelet.yaml", "--kubeconfig=" + keys + name + ".kubeconfig",
			"--hostname-override=" + name, "--node-ip=" + c.ranges(address(i), address6(i)), "--cgroup-root=/" + cgroup + "/" + name}},
		{Name: "kube-proxy", After: []string{apiReady}, Args: []string{kube, "kube-proxy",
			"--config=" + etc + "kube-proxy.yaml", "--hostname-override=" + name}},
	}
}
