// A plain KafkaJS producer. It reads {topic, messages: [{key, value, headers}]} from standard input, in JSON, and sends
// them as they are: `value` is JSON text, or null.
import { Kafka, logLevel } from "kafkajs";
import { text } from "node:stream/consumers";

const { topic, messages } = JSON.parse(await text(process.stdin));
const kafka = new Kafka({ clientId: "plain", brokers: [process.argv[2]], logLevel: logLevel.ERROR });
const producer = kafka.producer();
await producer.connect();
await producer.send({ topic, messages });
await producer.disconnect();
