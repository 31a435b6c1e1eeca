// Command echo is the test workload: it says who answered and what was asked.
//
//	echo [serve]                  HTTP on $LISTEN_HTTP (:8080), TCP and UDP on $LISTEN_RAW (:7000)
//	echo get URL [HEADER: VALUE]  print the answer to a GET request
//	echo call URL WORKERS         print the answers to GET requests without end
//	echo lookup NAME              print the addresses of a name
//	echo send tcp|udp ADDR TEXT   send a line, print the line that comes back
//	echo cat FILE                 print a file
//
// HTTP paths: /bytes?n=N answers N bytes, /sink counts the bytes of the body,
// /status/CODE answers CODE, /slow?ms=N waits before it answers as / does, /exit ends the
// process; every other path answers with a JSON object that describes the request, but / with
// $ECHO_PAGE where that is set.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

var host, _ = os.Hostname()

const patience = 5 * time.Second // of the client's commands

func main() {
	args := append(os.Args[1:], "serve")
	var err error
	switch {
	case args[0] == "serve":
		err = serve(cmp.Or(os.Getenv("LISTEN_HTTP"), ":8080"), cmp.Or(os.Getenv("LISTEN_RAW"), ":7000"))
	case args[0] == "get" && (len(args) == 3 || len(args) == 4):
		err = get(args[1], args[2:len(args)-1])
	case args[0] == "call" && len(args) == 4:
		var workers int
		if workers, err = strconv.Atoi(args[2]); err == nil {
			err = call(args[1], workers)
		}
	case args[0] == "lookup" && len(args) == 3:
		var addrs []string
		addrs, err = net.LookupHost(args[1])
		fmt.Println(strings.Join(addrs, "\n"))
	case args[0] == "send" && len(args) == 5:
		err = send(args[1], args[2], args[3])
	case args[0] == "cat" && len(args) == 3:
		var text []byte
		text, err = os.ReadFile(args[1])
		os.Stdout.Write(text)
	default:
		err = fmt.Errorf("usage: echo [serve | get URL [HEADER: VALUE] | call URL WORKERS | lookup NAME | send tcp|udp ADDR TEXT | cat FILE]")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(web, raw string) error {
	tcp, err := net.Listen("tcp", raw)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", raw)
	if err != nil {
		return err
	}
	go echoTCP(tcp)
	go echoUDP(udp)
	http.HandleFunc("/", describe)
	http.HandleFunc("/bytes", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.FormValue("n"), 10, 64)
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.CopyN(w, zeros{}, n)
	})
	http.HandleFunc("/sink", func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n)
	})
	http.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(min(max(code, 200), 599))
	})
	http.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
		ms, _ := strconv.Atoi(r.FormValue("ms"))
		time.Sleep(time.Duration(ms) * time.Millisecond)
		fmt.Fprintln(w, os.Getenv("ECHO_PAGE"))
	})
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(1) })
	pages, err := net.Listen("tcp", web)
	if err != nil {
		return err
	}
	log.Printf("%s: http %s, tcp and udp %s", host, web, raw)
	return http.Serve(pages, nil)
}

func describe(w http.ResponseWriter, r *http.Request) {
	log.Printf("%s %s from %s", r.Method, r.URL, r.RemoteAddr)
	if page := os.Getenv("ECHO_PAGE"); page != "" && r.URL.Path == "/" {
		fmt.Fprintln(w, page)
		return
	}
	body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	w.Header().Set("Content-Type", "application/json")
	answer := json.NewEncoder(w)
	answer.SetIndent("", "  ")
	answer.Encode(map[string]any{
		"hostname": host, "text": os.Getenv("ECHO_TEXT"), "method": r.Method, "path": r.URL.String(),
		"host": r.Host, "remote": r.RemoteAddr, "headers": r.Header, "body": string(body),
	})
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// echoTCP greets each connection with the host's name and then returns what comes.
func echoTCP(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			fmt.Fprintln(c, host)
			io.Copy(c, c)
		}()
	}
}

// echoUDP returns each packet behind the host's name.
func echoUDP(c net.PacketConn) {
	packet := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFrom(packet)
		if err != nil {
			log.Fatal(err)
		}
		c.WriteTo(append([]byte(host+" "), packet[:n]...), from)
	}
}

func get(url string, headers []string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ":")
		request.Header.Set(name, strings.TrimSpace(value))
	}
	answer, err := (&http.Client{Timeout: patience}).Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	io.Copy(os.Stdout, answer.Body)
	if answer.StatusCode >= 400 {
		return fmt.Errorf("%s", answer.Status)
	}
	return nil
}

// call asks from several workers until the reader of its output is gone, each time on a new
// connection, every second worker for an answer that takes its time. It prints the answers.
func call(url string, workers int) error {
	client := http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}
	said := make(chan string)
	for worker := range workers {
		go func() {
			for ; ; time.Sleep(5 * time.Millisecond) {
				path := []string{"/", "/slow?ms=300"}[worker%2]
				said <- answer(&client, url+path)
			}
		}()
	}
	for {
		if _, err := fmt.Println(<-said); err != nil {
			return err
		}
	}
}

// answer is the body in one line, or what went wrong behind the word LOST.
func answer(client *http.Client, url string) string {
	answer, err := client.Get(url)
	if err != nil {
		return fmt.Sprint("LOST: ", err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Sprint("LOST: ", answer.Status, " ", err)
	}
	return strings.TrimSpace(string(body))
}

func send(network, addr, text string) error {
	c, err := net.DialTimeout(network, addr, patience)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	lines := bufio.NewReader(c)
	if network == "tcp" {
		greeting, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		fmt.Print(strings.TrimSpace(greeting), " ")
	}
	if _, err := fmt.Fprintln(c, text); err != nil {
		return err
	}
	line, err := lines.ReadString('\n')
	fmt.Print(line)
	return err
}
