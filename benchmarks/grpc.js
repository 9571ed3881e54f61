// One call of headrace's API, over and over.
import grpc from "k6/net/grpc";

export const options = { summaryTrendStats: ["med", "p(99)"] };

const client = new grpc.Client();
client.load([__ENV.PROTOS], "headrace/v1/cluster_service.proto");
const ca = open(__ENV.CA_FILE);
const request = JSON.parse(__ENV.REQUEST);
const params = { metadata: { authorization: __ENV.AUTHORIZATION }, discardResponseMessage: true };
let connected = false;

export default function () {
  if (!connected) {
    client.connect(__ENV.ADDRESS, { tls: { cacerts: [ca] } });
    connected = true;
  }
  const response = client.invoke(`headrace.v1.ClusterService/${__ENV.METHOD}`, request, params);
  if (response.status !== grpc.StatusOK) throw new Error(`not answered: ${response.error && response.error.message}`);
}
