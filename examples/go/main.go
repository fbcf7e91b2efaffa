// A second producer: declares two events, sends what it is told to, and ends when the sidecar has taken all of it.
//
//	go run . -socket /run/telemetry/telemetry.sock -events 100
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	socket := flag.String("socket", "/run/telemetry/telemetry.sock", "Unix socket of the sidecar")
	producer := flag.String("producer", "bakery", "name of this producer, the same over restarts")
	events := flag.Int("events", 100, "loaves to bake")
	within := flag.Duration("within", 30*time.Second, "give up where the sidecar has not taken all by then")
	flag.Parse()
	stop, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	ctx, cancelDeadline := context.WithTimeout(stop, *within)
	defer cancelDeadline()
	taken, err := deliver(ctx, *socket, *producer, bake(*events, time.Now()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("durable through %d\n", taken)
}
