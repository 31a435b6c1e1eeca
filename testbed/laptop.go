package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A laptop is a machine outside of the cluster, of a person who is an ordinary user on
// it: dev1 on laptop1, and so on. What programs write there is its own; the rest of the
// file system is this machine's, to be read only.

// kinds are the peculiarities that a laptop can have: what is done to the machine.
var kinds = map[string]func(*Machine) error{
	"plain": func(*Machine) error { return nil },
	"firewall": func(m *Machine) error {
		m.Setup = append(m.Setup, []string{"nft", asset("laptop.nft")})
		return nil
	},
	"rpfilter": func(m *Machine) error {
		m.Setup = append(m.Setup, []string{"sh", "-c", "echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter"})
		return nil
	},
	"resolved": resolvedLaptop,
	vpn:        func(*Machine) error { return nil }, // see connectVPN
}

const vpn = "vpn"

func checkKinds(list string) error {
	for kind := range strings.SplitSeq(list, ",") {
		if kinds[kind] == nil {
			return fmt.Errorf("no kind of laptop is called %q", kind)
		}
	}
	return nil
}

// kindOf returns the kind of laptop i; the last in the list counts for the rest.
func kindOf(list string, i int) string {
	names := strings.Split(list, ",")
	return names[min(i, len(names))-1]
}

func startLaptop(i int, kind string) error {
	m := outsider(fmt.Sprintf("laptop%d", i))
	person := Person{fmt.Sprintf("dev%d", i), 1000 + i}
	if err := m.layOut(); err != nil {
		return err
	}
	if err := person.moveIn(m); err != nil {
		return err
	}
	if err := m.installPrograms(); err != nil {
		return err
	}
	m.Setup = [][]string{{"install", "-d", "-m", "700", "-o", strconv.Itoa(person.id), "-g", strconv.Itoa(person.id),
		fmt.Sprintf("/run/user/%d", person.id)}}
	if wd, err := os.Getwd(); err == nil && isPrivate(project(wd)) {
		m.Mounts = append(m.Mounts, bind(project(wd), project(wd)))
	}
	if err := kinds[kind](&m); err != nil {
		return err
	}
	return m.start(func(pid string) error {
		if err := connect(pid, m.Name, 128+i); err != nil {
			return err
		}
		err := sh(`nsenter -t $1 -n ip route add default via $2
			[ ! -d /proc/sys/net/ipv6 ] || nsenter -t $1 -n ip route add default via $3`,
			pid, address(office), address6(office))
		if err != nil || kind != vpn {
			return err
		}
		return connectVPN(pid, i)
	})
}

// connectVPN joins a laptop with the company's network by a device of its own, corp0. Its
// routes overlap the pods': one is wider than all of them, one is half of them. Only
// 10.20.0.0/16 is somebody, the office.
func connectVPN(pid string, i int) error {
	_, pids := machines()
	return sh(`ip link add corp0 netns $1 type veth peer name vpn$3 netns $2
		nsenter -t $2 -n sh -ec "ip addr add 10.8.$3.1/24 dev vpn$3; ip link set vpn$3 up"
		nsenter -t $1 -n sh -ec "ip addr add 10.8.$3.2/24 dev corp0; ip link set corp0 up
			ip route add 10.0.0.0/8 via 10.8.$3.1; ip route add 10.244.0.0/17 via 10.8.$3.1"`,
		pid, pids["office"], strconv.Itoa(i))
}

// private are the folders that a machine outside of the cluster has for itself.
var private = []string{"/home", "/root", "/tmp", "/var"}

func isPrivate(path string) bool {
	for _, p := range append(private, "/run") {
		if strings.HasPrefix(path, p+"/") {
			return true
		}
	}
	return false
}

// outsider is a machine outside of the cluster: its folders, and what it needs of ours.
func outsider(name string) Machine {
	m := Machine{Name: name, ReadOnly: true}
	m.Mounts = []Mount{
		{Kind: "overlay", To: "/etc", Options: map[string]string{
			"lowerdir": "/etc", "upperdir": m.file("etc"), "workdir": m.file("etc.work")}},
		{Kind: "overlay", To: "/usr/local", Options: map[string]string{
			"lowerdir": "/usr/local", "upperdir": m.file("usr.local"), "workdir": m.file("usr.local.work")}},
		{Kind: "sysfs", To: "/sys"},
		tmpfs("/dev/shm", "1777"), tmpfs("/run", "755"), bind(m.file("log"), "/run/log"),
	}
	for _, p := range private {
		m.Mounts = append(m.Mounts, bind(m.file(p), p))
	}
	m.Mounts = append(m.Mounts, bind(in("bin"), in("bin")), bind(pki(""), pki("")))
	return m
}

// layOut makes the machine's own folders.
func (m Machine) layOut() error {
	for folder, mode := range map[string]os.FileMode{
		"log": 0o755, "etc": 0o755, "etc.work": 0o755, "usr.local/bin": 0o755, "usr.local.work": 0o755, "home": 0o755, "root": 0o711, "tmp": 0o777 | os.ModeSticky,
		"var/lib": 0o755, "var/log": 0o755, "var/cache": 0o755, "var/tmp": 0o777 | os.ModeSticky,
	} {
		if err := errors.Join(os.MkdirAll(m.file(folder), mode), os.Chmod(m.file(folder), mode)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.Symlink("/run", m.file("var/run")), os.Symlink("/run/lock", m.file("var/lock")),
		m.write("etc/hostname", m.Name+"\n", 0o644),
		m.write("etc/hosts", "127.0.0.1 localhost "+m.Name+"\n::1 localhost\n", 0o644),
		m.write("etc/resolv.conf", "nameserver "+address(office)+"\nsearch corp.example\n", 0o644),
		m.write("etc/machine-id", fmt.Sprintf("%.16x\n", sha256.Sum256([]byte(m.Name))), 0o444),
	)
}

func (m Machine) write(name, content string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(m.file(name)), 0o755); err != nil {
		return err
	}
	return os.WriteFile(m.file(name), []byte(content), mode)
}

// installPrograms puts what a developer has on his PATH into the laptop's own /usr/local:
// kubectl, and the ktctl of the work tree around the caller, once it is built.
func (m Machine) installPrograms() error {
	wd, err := os.Getwd()
	if err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(in("bin/kubectl"), m.file("usr.local/bin/kubectl")),
		os.Symlink(filepath.Join(project(wd), "target/release/ktctl"), m.file("usr.local/bin/ktctl")))
}

// A Person is the user of a laptop.
type Person struct {
	name string
	id   int // of the user and his group
}

// moveIn gives the person an account next to the system's, a home with the developer's
// kubeconfig, and the right to use sudo without a password.
func (p Person) moveIn(m Machine) error {
	home := filepath.Join("home", p.name)
	config, err := os.ReadFile(kubeconfig("developer"))
	if err != nil {
		return err
	}
	err = errors.Join(
		m.write("etc/passwd", systemAccounts("/etc/passwd")+
			fmt.Sprintf("%s:x:%d:%d::/%s:/bin/bash\n", p.name, p.id, p.id, home), 0o644),
		m.write("etc/group", systemAccounts("/etc/group")+fmt.Sprintf("%s:x:%d:\n", p.name, p.id), 0o644),
		m.write("etc/shadow", "root:*:19000::::::\n"+p.name+":*:19000::::::\n", 0o600),
		m.write("etc/sudoers.d/"+p.name, p.name+" ALL=(ALL) NOPASSWD: ALL\n", 0o440),
		m.write(home+"/.kube/config", string(config), 0o600))
	if err != nil {
		return err
	}
	return filepath.WalkDir(m.file(home), func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, p.id, p.id))
	})
}

// systemAccounts leaves this machine's people out of a file of accounts.
func systemAccounts(file string) (lines string) {
	text, _ := os.ReadFile(file)
	for line := range strings.Lines(string(text)) {
		fields := strings.Split(strings.TrimSpace(line), ":")
		if len(fields) < 3 {
			continue
		}
		if id, err := strconv.Atoi(fields[2]); err == nil && (id < 1000 || id == 65534) {
			lines += line
		}
	}
	return lines
}

// resolvedLaptop has systemd-resolved, which is told of the name server as a network
// manager does it. Where this machine lacks the package, its files may lie in resolved/.
func resolvedLaptop(m *Machine) error {
	programs := []string{"/usr/lib/systemd/systemd-resolved",
		in("resolved/usr/lib/systemd/systemd-resolved"), in("resolved/lib/systemd/systemd-resolved")}
	i := slices.IndexFunc(programs, exists)
	if i < 0 {
		return errors.New("no systemd-resolved: see the packages in README.md")
	}
	if i > 0 {
		m.Mounts = slices.Insert(m.Mounts, 0, Mount{Kind: "overlay", To: "/usr", // before /usr/local
			Options: map[string]string{"lowerdir": in("resolved/usr") + ":/usr"}})
		m.Mounts = append(m.Mounts, bind(in("resolved"), in("resolved")))
	}
	if err := os.Remove(m.file("etc/resolv.conf")); err != nil {
		return err
	}
	passwd, err := os.ReadFile(m.file("etc/passwd"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(passwd), "\nsystemd-resolve:") {
		passwd = append(passwd, "systemd-resolve:x:991:991::/:/usr/sbin/nologin\n"...)
	}
	m.Setup = append(m.Setup, []string{"mkdir", "-p", "/run/dbus", "/run/systemd"})
	m.Services = []Service{
		{Name: "dbus", Args: []string{"dbus-daemon", "--system", "--nofork", "--nopidfile"}},
		{Name: "systemd-resolved", After: []string{dbus}, Args: programs[i : i+1]},
		{Name: "network-manager", After: []string{"127.0.0.53:53"}, Args: []string{"sh", "-c", strings.Join([]string{
			"resolvectl dns eth0 " + address(office), "resolvectl domain eth0 corp.example", "exec sleep infinity"}, " && ")}},
	}
	return errors.Join(m.write("etc/passwd", string(passwd), 0o644),
		os.Symlink("../run/systemd/resolve/stub-resolv.conf", m.file("etc/resolv.conf")))
}

const dbus = "/run/dbus/system_bus_socket"

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// startOffice makes the machine that is the world outside of the cluster: see cmd/office.
func startOffice() error {
	m := outsider("office")
	if err := m.layOut(); err != nil {
		return err
	}
	m.Setup = [][]string{{"sh", "-ec", `echo 1 >/proc/sys/net/ipv4/ip_forward
		ip route add local 192.0.2.0/24 dev lo
		ip route add local 203.0.113.0/24 dev lo
		ip route add local 10.20.0.0/16 dev lo
		[ ! -d /proc/sys/net/ipv6 ] || ip route add local 2001:db8::/32 dev lo`}}
	m.Services = []Service{
		{Name: "office", Args: []string{in("bin/office")}},
		{Name: "web", Args: []string{"env", "LISTEN_HTTP=:80", "LISTEN_RAW=:7", in("bin/echo")}},
	}
	return m.start(func(pid string) error { return connect(pid, m.Name, office) })
}
