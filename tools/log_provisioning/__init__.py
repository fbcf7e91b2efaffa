"""Programs that install and mend what logs need at Elasticsearch and Kibana; they run in the cluster, too."""
