package main

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"
)

// serveEvents sends events (SSE) without end, the next one only when the one before was heard: a
// caller says so at /heard.
func serveEvents(address, name string) error {
	var heard atomic.Int64
	http.HandleFunc("/heard", func(http.ResponseWriter, *http.Request) { heard.Add(1) })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		heard.Store(0)
		for number := int64(0); r.Context().Err() == nil; number++ {
			fmt.Fprintf(w, "data: %s %d\n\n", name, number)
			http.NewResponseController(w).Flush()
			for heard.Load() <= number && r.Context().Err() == nil {
				time.Sleep(10 * time.Millisecond)
			}
		}
	})
	return http.ListenAndServe(address, nil)
}

// listen hears some events of a server of that name, each before it says that it did.
func listen(address, mark, name string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := get(ctx, address, "/", mark)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	lines := bufio.NewScanner(answer.Body)
	for number := 0; number < 5 && lines.Scan(); number++ {
		if err := same(lines.Text(), fmt.Sprintf("data: %s %d", name, number)); err != nil {
			return err
		}
		lines.Scan() // the empty line after each
		told, err := get(ctx, address, "/heard", mark)
		if err != nil {
			return err
		}
		told.Body.Close()
	}
	if lines.Err() != nil {
		return lines.Err()
	}
	fmt.Println("good: events of", name)
	return nil
}

func get(ctx context.Context, address, path, mark string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Version", mark)
	return http.DefaultClient.Do(request)
}
