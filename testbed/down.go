package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// down ends the machines' first processes, and with them everything in them, and then
// removes the cgroups and the cluster's files.
func down() error {
	names, pids := machines()
	for _, name := range names {
		if pid, _ := strconv.Atoi(pids[name]); pid > 0 {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	for _, name := range names {
		for pid := pids[name]; pid != "" && !ended(pid); {
			time.Sleep(20 * time.Millisecond)
		}
	}
	if len(names) == 0 {
		return nil
	}
	run("ip", "link", "delete", hostDevice) // unless the kernel was faster
	step("%s ended", strings.Join(names, ", "))
	for _, root := range cgroupRoots() {
		if err := removeCgroups(filepath.Join(root, cgroup)); err != nil {
			return err
		}
	}
	return os.RemoveAll(in("cluster"))
}

// cgroupRoots lists where the control groups are mounted: several folders, or one.
func cgroupRoots() (roots []string) {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for _, line := range strings.Split(string(mounts), "\n") {
		if f := strings.Fields(line); len(f) > 2 && (f[2] == "cgroup" || f[2] == "cgroup2") {
			roots = append(roots, f[1])
		}
	}
	return roots
}

func removeCgroups(top string) error {
	var groups []string
	filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			groups = append(groups, path)
		}
		return nil
	})
	for _, group := range slices.Backward(groups) {
		for tries := 0; ; tries++ {
			err := syscall.Rmdir(group)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				break
			}
			if tries == 100 {
				return fmt.Errorf("remove %s: %w", group, err)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return nil
}

func status() error {
	names, pids := machines()
	if len(names) == 0 {
		fmt.Println("no cluster")
		return nil
	}
	for _, name := range names {
		if pids[name] == "" {
			fmt.Println(name, "has ended")
			continue
		}
		fmt.Println(name)
		var out []byte
		within(pids[name], func() (err error) {
			out, err = exec.Command("ps", "-o", "pid=,rss=,etime=,args=", "--ppid", "1").Output()
			return err
		})
		for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			f := strings.Fields(line)
			if len(f) < 5 {
				continue
			}
			what := f[3]
			if what == kube {
				what = f[4]
			}
			rss, _ := strconv.Atoi(f[1])
			fmt.Printf("  %-26s %5d MiB  %s\n", what, rss>>10, f[2])
		}
	}
	c := exec.Command(in("bin/kubectl"), "--kubeconfig", kubeconfig("admin"), "get", "nodes,pods", "-A", "-o", "wide")
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return c.Run()
}
