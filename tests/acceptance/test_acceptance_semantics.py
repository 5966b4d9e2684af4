"""What the engine promises of acknowledgements, duplicates, charsets, groups, results, identity and order, and the tests of it.

Each rule names the tests that hold it; a rule whose test is gone, or renamed, is found here.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

RULES: dict[str, tuple[str, ...]] = {
    "acknowledgement: committed is AA, in enhanced mode as MSH-15 asks": (
        "test_engine_reception.py::test_a_good_message_is_taken_and_answered_aa",
        "test_torture_peers.py::test_msh_15_and_msh_16",
    ),
    "acknowledgement: a fault of framing, MSH or charset is kept as rejected and answered AE": (
        "test_engine_reception.py::test_a_fault_of_the_framing_is_rejected",
        "test_acceptance_bad_input.py::test_what_is_no_message_is_refused_and_kept",
    ),
    "acknowledgement: what is not accepted is AR, or AA and filtered": (
        "test_acceptance_bad_input.py::test_an_unknown_type_is_rejected",
        "test_acceptance_bad_input.py::test_an_unknown_type_may_be_ignored",
        "test_engine_reception.py::test_otherwise_ignore_says_aa_and_filters",
    ),
    "acknowledgement: what cannot be committed is silence": (
        "test_connectors_mllp_source.py::test_unavailable_is_silence",
        "test_acceptance_bad_input.py::test_a_full_disk_is_silent_and_keeps_its_word",
    ),
    "acknowledgement: a fault found later parks": ("test_acceptance_bad_input.py::test_a_mapping_failure_parks",),
    "acknowledgement: of an acknowledgement there is none": (
        "test_engine_reception.py::test_an_acknowledgement_is_never_acknowledged",
    ),
    "acknowledgement: said when the channel says it is due": (
        "test_engine_acknowledgement.py::test_transformed_waits_for_the_mapping_alone",
        "test_engine_acknowledgement.py::test_delivered_waits_for_the_receiver",
        "test_engine_acknowledgement.py::test_past_the_deadline_a_resend_attaches",
    ),
    "acknowledgement: a batch is split and answered once": (
        "test_connectors_mllp_source.py::test_a_batch_is_split_and_answered_once",
    ),
    "acknowledgement: as a client one message is in flight, and stale answers are skipped": (
        "test_connectors_mllp_destination.py::test_one_message_in_flight",
        "test_connectors_mllp_destination.py::test_stale_answers_are_skipped",
    ),
    "duplicates: the same key and content is answered as before": (
        "test_contract_journal.py::test_a_resend_gets_the_first_reply_and_is_noted",
    ),
    "duplicates: a resend of what was rejected, parked or discarded supersedes it": (
        "test_contract_journal.py::test_a_resend_of_a_parked_message_supersedes_it",
        "test_contract_journal.py::test_a_resend_of_a_rejected_or_discarded_message_is_processed",
    ),
    "duplicates: the same key with other content is processed and flagged": (
        "test_contract_journal.py::test_the_same_key_with_other_content_is_processed_and_flagged",
    ),
    "duplicates: the same content under another key is processed": (
        "test_contract_journal.py::test_the_same_content_under_another_key_channel_or_none_is_processed",
    ),
    "duplicates: for as long as the window": ("test_contract_journal.py::test_after_the_window_a_resend_is_a_new_message",),
    "charset: MSH-18 decides, or the channel": (
        "test_hl7_charset.py::test_the_declared_charset_decides",
        "test_hl7_charset.py::test_the_channel_overrides",
    ),
    "charset: an invalid byte is named by its offset": ("test_hl7_charset.py::test_an_invalid_byte_is_named_by_offset",),
    "charset: end blocks may be letters": ("test_connectors_mllp_source.py::test_end_blocks_as_letters",),
    "groups: the tolerant parser": (
        "test_hl7_structure.py::test_rule",
        "test_hl7_structure_corpus.py::test_nothing_is_ever_lost",
        "test_hl7_structure.py::test_observations_know_the_specimen_they_stand_under",
    ),
    "result 1: OBX-4 is part of the key": ("test_semantics_results.py::test_2_a_field_more_in_the_key_tells_repeats_apart",),
    "result 2: the same code twice": (
        "test_semantics_results.py::test_2_repeats_get_occurrence_numbers_in_the_order_of_the_message",
        "test_mapping_identity.py::test_consecutive_texts_of_one_code_are_one_observation",
    ),
    "result 3: partial reports": (
        "test_semantics_results.py::test_3_delta_a_report_has_the_union_of_what_its_parts_said",
        "test_semantics_results.py::test_3_snapshot_what_is_missing_becomes_entered_in_error",
        "test_engine_reconcile.py::test_a_result_that_becomes_final_keeps_its_value",
    ),
    "result 4: parent and child": (
        "test_semantics_results.py::test_4_susceptibilities_are_members_of_their_organism",
        "test_semantics_results.py::test_4_a_parent_that_nobody_knows_is_told_and_the_children_stand_alone",
    ),
    "result 5: status by table": (
        "test_mapping_convert_codes.py::test_every_code_of_a_table_is_decided",
        "test_engine_reconcile.py::test_a_result_cancelled_after_its_final_was_wrong",
    ),
    "result 6: stale after newer": (
        "test_engine_reconcile.py::test_older_is_stale_whatever_its_rank",
        "test_engine_reconcile.py::test_rank_breaks_ties_and_missing_times",
        "test_engine_reconcile.py::test_state_is_kept_per_destination",
        "test_engine_replays.py::test_an_old_result_is_not_sent_after_a_newer_one",
    ),
    "result 7: time": (
        "test_mapping_convert_times.py::test_a_time_keeps_its_precision_and_gets_its_zone",
        "test_mapping_convert_times.py::test_without_any_zone_a_time_becomes_a_date",
        "test_mapping_convert_times.py::test_an_instant_needs_a_time_of_day",
    ),
    "result 8: specimen": ("test_mapping_whole.py::test_an_observation_refers_to_its_own_specimen",),
    "result 9: several OBR": ("test_mapping_identity.py::test_references_stay_within_the_shared_group",),
    "result 10: documents": (
        "test_mapping_convert_values.py::test_a_document_is_checked_and_has_size_and_hash",
        "test_mapping_program.py::test_documents_become_attachments_of_the_report",
    ),
    "result 11: notes": ("test_mapping_program.py::test_notes_belong_to_the_segment_they_follow_and_are_joined_once",),
    "result 12: numbers": (
        "test_mapping_convert_values.py::test_every_decimal_survives_with_its_digits",
        "test_hl7_scalars.py::test_decimals_keep_their_digits",
    ),
    'result 13: "" deletes': (
        "test_mapping_program.py::test_a_deleted_value_is_absent_or_cleared",
        "test_hl7_message.py::test_deleted_is_not_empty",
    ),
    "result 14: units": ("test_mapping_convert_values.py::test_the_value_of_an_observation",),
    "result 15: orders": (
        "test_mapping_identity.py::test_an_order_is_found_by_any_of_its_numbers",
        "test_mapping_identity.py::test_numbers_of_two_different_orders_park",
        "test_mapping_unknown.py::test_what_is_known_by_none_of_its_names_parks_naming_them",
        "test_engine_reconcile.py::test_a_closed_order_is_not_reopened",
    ),
    "result 16: merges": (
        "test_mapping_identity.py::test_a_merge_retires_one_record_and_links_both",
        "test_mapping_identity.py::test_a_retired_patient_is_never_activated_again_and_new_results_go_to_the_survivor",
        "test_engine_reception.py::test_a_merge_waits_for_both_patients",
        "test_engine_runtime.py::test_a_merge_into_itself_parks",
    ),
    "result 17: radiology": (
        "test_mapping_samples.py::test_every_mapping_has_cases_and_all_of_them_pass",
        "test_mapping_convert_codes.py::test_the_suffix_of_a_report_part_is_a_coding_of_its_own",
    ),
    "result 18: training data": ("test_engine_reception.py::test_training_data_are_filtered_unless_taken",),
    "identity: a patient belongs to one facility": (
        "test_mapping_identity.py::test_the_patient_is_named_by_the_hospitals_own_number",
        "test_mapping_identity.py::test_without_a_number_of_its_own_a_patient_gets_a_temporary_id",
        "test_mapping_identity.py::test_a_number_is_only_unique_within_its_authority",
    ),
    "identity: what is unchanged is left out, what changed is written in full": (
        "test_engine_reconcile.py::test_unchanged_is_left_out",
        "test_engine_reconcile.py::test_what_was_never_sent_is_sent_whole",
        "test_engine_reconcile.py::test_merge_fills_from_what_was_sent",
        "test_engine_reconcile.py::test_if_new_is_written_once",
    ),
    "identity: persons and places are references by identifier and display": (
        "test_mapping_convert_people.py::test_a_person_or_place_is_a_reference_by_identifier_and_display",
    ),
    "identity: the same message makes the same bytes": (
        "test_acceptance_determinism.py::test_bytes_depend_on_the_message_alone",
    ),
    "order: one lane a patient, several are a barrier": (
        "test_contract_journal.py::test_a_lane_hands_out_one_at_a_time_in_order_of_arrival",
        "test_contract_journal.py::test_a_barrier_waits_for_all_its_lanes_and_holds_them",
        "test_engine_reception.py::test_without_a_patient_the_channel_is_the_lane",
    ),
}


@cache
def defined() -> frozenset[str]:
    """Every test there is: ``FILE::NAME``."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        names = re.findall(r"^\s*(?:async )?def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
        found |= {f"{path.name}::{name}" for name in names}
    return frozenset(found)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_has_its_tests(rule: str) -> None:
    """They are there under these names; what they prove is said in each."""
    assert RULES[rule]
    assert [name for name in RULES[rule] if name not in defined()] == []


def test_the_numbered_rules_of_results_are_all_there() -> None:
    """1 to 18: none is forgotten."""
    numbers = {int(found[1]) for rule in RULES if (found := re.match(r"result (\d+):", rule))}
    assert numbers == set(range(1, 19))
