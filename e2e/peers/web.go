package main

import (
	"fmt"
	"io"
	"net/http"
)

// serveWeb answers with the protocol it was asked in, what was asked for, and the body that came.
func serveWeb(address string) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Trailer", "Sum")
		length, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%s %s %s for %s, %d bytes\n", r.Proto, r.Method, r.URL, r.Host, length)
		w.Header().Set("Sum", fmt.Sprint(length))
	})
	server := http.Server{Addr: address, Handler: handler, Protocols: protocols}
	return server.ListenAndServe()
}
