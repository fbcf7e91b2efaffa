// The controllers of Kubernetes that make pods of ReplicaSets and Jobs, without the rest of kube-controller-manager.
package main

import (
	"context"
	"os"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/kubernetes/pkg/controller/job"
	"k8s.io/kubernetes/pkg/controller/replicaset"
)

const workers = 2

func main() {
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		panic(err)
	}
	client := kubernetes.NewForConfigOrDie(config)
	shared := informers.NewSharedInformerFactory(client, 0)
	pods := shared.Core().V1().Pods()
	ctx := context.Background()
	sets := replicaset.NewReplicaSetController(ctx, shared.Apps().V1().ReplicaSets(), pods, client, replicaset.BurstReplicas)
	jobs, err := job.NewController(ctx, pods, shared.Batch().V1().Jobs(), client)
	if err != nil {
		panic(err)
	}
	shared.Start(ctx.Done())
	go sets.Run(ctx, workers)
	jobs.Run(ctx, workers)
}
