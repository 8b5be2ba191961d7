// asynq: Enqueue from any number of goroutines, for many as for one; a server that drops tasks when they are done.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log"
	"math"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hibiken/asynq"
	"golang.org/x/sys/unix"
)

const (
	head = 20
	kind = "bench"
	// There is no bulk call: several goroutines send a batch.
	producers = 64
	// asynq polls for tasks at intervals; its defaults are 1 s for tasks and 5 s for delayed ones.
	interval = 10 * time.Millisecond
)

type arguments struct {
	Side        string  `json:"side"`
	Address     string  `json:"address"`
	Events      int     `json:"events"`
	Coroutines  int     `json:"coroutines"`
	Concurrency int     `json:"concurrency"`
	Payload     int     `json:"payload"`
	PerSecond   float64 `json:"per_second"`
	DelayS      float64 `json:"delay_s"`
	SpreadS     float64 `json:"spread_s"`
	Measure     string  `json:"measure"`
}

type result struct {
	BeganS   float64   `json:"began_s"`
	EndedS   float64   `json:"ended_s"`
	Handled  int       `json:"handled"`
	Distinct int       `json:"distinct"`
	Measured []float64 `json:"measured"`
}

// nowS is a clock that all processes of this machine share, in seconds.
func nowS() float64 {
	var now unix.Timespec
	must(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now))
	return float64(now.Sec) + float64(now.Nsec)/1e9
}

func wallS() float64 { return float64(time.Now().UnixNano()) / 1e9 }

func seconds(count float64) time.Duration { return time.Duration(count * float64(time.Second)) }

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func begin() {
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}

func body(number float64, size int) []byte {
	text := fmt.Sprintf("%020.9f", number)
	return []byte(text + strings.Repeat("x", size-len(text)))
}

func produce(given arguments, redis asynq.RedisConnOpt) result {
	client := asynq.NewClient(redis)
	defer client.Close()
	send := func(number float64, options ...asynq.Option) {
		_, err := client.Enqueue(asynq.NewTask(kind, body(number, given.Payload)), options...)
		must(err)
	}
	begin()
	began := nowS()
	switch {
	case given.PerSecond > 0:
		for place := range given.Events {
			time.Sleep(seconds(began + float64(place)/given.PerSecond - nowS()))
			send(nowS())
		}
	case given.DelayS > 0:
		callers(16, given.Events, func(place int) { sendLater(given, place, send) })
	default:
		callers(max(given.Coroutines, producers), given.Events, func(place int) { send(float64(place)) })
	}
	return result{BeganS: began, EndedS: nowS()}
}

// sendLater rounds up to whole seconds, which is what asynq stores.
func sendLater(given arguments, place int, send func(float64, ...asynq.Option)) {
	wanted := given.DelayS + given.SpreadS*float64(place)/float64(given.Events)
	due := wallS() + wanted
	send(due, asynq.ProcessAt(time.Unix(int64(math.Ceil(due)), 0)))
}

func callers(count, events int, send func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range count {
		all.Go(func() {
			for place := next.Add(1) - 1; place < int64(events); place = next.Add(1) - 1 {
				send(int(place))
			}
		})
	}
	all.Wait()
}

func work(given arguments, redis asynq.RedisConnOpt) result {
	var counted result
	var lock sync.Mutex
	seen := make(map[string]bool)
	done := make(chan struct{})
	clock := map[string]func() float64{"latency": nowS, "lateness": wallS}[given.Measure]
	handle := func(_ context.Context, task *asynq.Task) error {
		lock.Lock()
		defer lock.Unlock()
		text := string(task.Payload()[:head])
		if clock != nil {
			number, err := strconv.ParseFloat(text, 64)
			must(err)
			counted.Measured = append(counted.Measured, (clock()-number)*1e3)
		}
		if counted.Handled == 0 {
			counted.BeganS = nowS()
		}
		counted.Handled++
		seen[text] = true
		if len(seen) == given.Events && counted.EndedS == 0 {
			counted.EndedS = nowS()
			close(done)
		}
		return nil
	}
	server := asynq.NewServer(redis, asynq.Config{
		Concurrency:              given.Concurrency,
		TaskCheckInterval:        interval,
		DelayedTaskCheckInterval: interval,
		LogLevel:                 asynq.ErrorLevel,
	})
	begin()
	must(server.Start(asynq.HandlerFunc(handle)))
	<-done
	server.Shutdown()
	lock.Lock()
	defer lock.Unlock()
	counted.Distinct = len(seen)
	return counted
}

func main() {
	given := arguments{Payload: 200}
	must(json.Unmarshal([]byte(os.Args[1]), &given))
	redis, err := asynq.ParseRedisURI(given.Address)
	must(err)
	sides := map[string]func(arguments, asynq.RedisConnOpt) result{"producer": produce, "worker": work}
	must(json.NewEncoder(os.Stdout).Encode(sides[given.Side](given, redis)))
}
