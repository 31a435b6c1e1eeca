// Command testbed runs a real Kubernetes cluster inside network namespaces of this
// machine, for tests and demonstrations. See README.md.
package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

const usage = `usage: testbed COMMAND

  up [OPTIONS]                   start the cluster, unless one runs that has all of this
      --nodes N, --laptops N     one of each unless told
      --laptop-kind KIND,...     plain (default), resolved, firewall, rpfilter, vpn;
                                 one for all or a list
      --dual-stack               pods and services have IPv6 addresses, too
      --cluster-domain DOMAIN    instead of cluster.local
  build                          only build what up would build
  down                           end it; nothing of it stays but binaries and images
  status                         machines, processes, nodes and pods
  logs MACHINE/PROCESS           e.g. logs node1/kubelet; without an argument: the list
  exec [USER@]MACHINE COMMAND... run a command on a laptop, a node or in the office
  link LAPTOP [--delay D] [--rate R] [--loss L]
                                 make a laptop's link slow, e.g. --delay 20ms --rate 100mbit
                                 --loss 0.1% (each way); without an option: plain again
  link LAPTOP --down | --up      pull a laptop's cable, plug it in
  kubectl ARGUMENTS...           kubectl as the cluster's administrator
  kubeconfig [USER]              path of a kubeconfig: admin (default), developer, editor,
                                 guest, viewer
  build-image [--user NUMBER] NAME OUT FILE[:PATH]... [-- ENTRYPOINT...]
                                 write an image archive of static binaries
  load-image ARCHIVE...          import image archives on every node
`

// dir holds all that the test bed keeps: bin/, images/, and cluster/ while one is up.
var dir = stateDir()

func stateDir() string {
	if d := os.Getenv("KT_TESTBED_DIR"); d != "" {
		d, _ = filepath.Abs(d)
		return d
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		fail(err)
	}
	return filepath.Join(cache, "kt-testbed")
}

func in(elem ...string) string { return filepath.Join(append([]string{dir}, elem...)...) }

func main() {
	if len(os.Args) < 2 {
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	var err error
	switch args := os.Args[2:]; os.Args[1] {
	case "up":
		err = up(args)
	case "down":
		err = down()
	case "status":
		err = status()
	case "logs":
		err = logs(args)
	case "exec":
		err = execIn(args)
	case "link":
		err = link(args)
	case "kubectl":
		os.Setenv("KUBECONFIG", kubeconfig("admin"))
		err = execute(append([]string{in("bin/kubectl")}, args...))
	case "kubeconfig":
		err = printKubeconfig(args)
	case "build-image":
		err = buildImageCommand(args)
	case "load-image":
		err = loadImages(args)
	case "init": // the first process of a machine, see machine.go
		err = initMachine()
	case "run-as": // exec's end in a machine, see exec.go
		err = runAs(args)
	case "wire": // a slow link, see link.go
		err = runWire(args)
	default:
		fmt.Fprint(os.Stderr, usage)
		os.Exit(2)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "testbed:", err)
	os.Exit(1)
}

// execute becomes the command.
func execute(args []string) error {
	path, err := exec.LookPath(args[0])
	if err != nil {
		return err
	}
	return syscall.Exec(path, args, os.Environ())
}

// run runs a command and makes what it said part of its error.
func run(args ...string) error {
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

func printKubeconfig(args []string) error {
	file := kubeconfig(strings.Join(append(args, "admin")[:1], ""))
	if _, err := os.Stat(file); err != nil {
		return err
	}
	fmt.Println(file)
	return nil
}

func logs(args []string) error {
	if len(args) == 0 {
		files, _ := filepath.Glob(in("cluster/machines/*/log/*.log"))
		for _, f := range files {
			machine := filepath.Base(filepath.Dir(filepath.Dir(f)))
			fmt.Println(machine + "/" + strings.TrimSuffix(filepath.Base(f), ".log"))
		}
		return nil
	}
	machine, process, _ := strings.Cut(args[0], "/")
	text, err := os.ReadFile(in("cluster/machines", machine, "log", process+".log"))
	os.Stdout.Write(text)
	return err
}
