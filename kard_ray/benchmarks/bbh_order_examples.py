"""Worked examples by hand for the tasks of BIG-Bench Hard about objects in a row and objects that change hands."""

from __future__ import annotations

from kard_ray.benchmarks.question import WorkedExample

ORDER_EXAMPLES: dict[str, tuple[WorkedExample, ...]] = {
    "logical_deduction_three_objects": (
        WorkedExample(
            question=(
                "Three things stand in a fixed order, and all that is said about them is true. On a sill "
                "there are three cups: a red cup, a blue cup, and a green cup. The blue cup is to the left "
                "of the red cup. The green cup is to the right of the red cup."
            ),
            options=(
                "The red cup is the leftmost",
                "The blue cup is the leftmost",
                "The green cup is the leftmost",
            ),
            answer=1,
            rationale=(
                "The blue cup is left of the red cup, and the green cup is right of it. So the order is "
                "blue, red, green. The blue cup is the leftmost."
            ),
        ),
    ),
    "logical_deduction_five_objects": (
        WorkedExample(
            question=(
                "Five people stand in a fixed order, and all that is said about them is true. In a race "
                "there were five runners: Ada, Ben, Cleo, Dan, and Eva. Cleo finished first. Eva finished "
                "last. Ben finished after Ada. Dan finished before Ada."
            ),
            options=(
                "Ada finished third",
                "Ben finished third",
                "Cleo finished third",
                "Dan finished third",
                "Eva finished third",
            ),
            answer=0,
            rationale=(
                "Cleo is first and Eva is fifth. Dan is before Ada, and Ben is after Ada. So the order is "
                "Cleo, Dan, Ada, Ben, Eva. Ada finished third."
            ),
        ),
    ),
    "logical_deduction_seven_objects": (
        WorkedExample(
            question=(
                "Seven things stand in a fixed order, and all that is said about them is true. On a rack "
                "there are seven coats: a gray, a white, a black, a brown, an orange, a purple, and a yellow "
                "coat. The gray coat is the leftmost. The yellow coat is the rightmost. The white coat is "
                "the second from the left. The purple coat is the second from the right. The black coat is "
                "to the left of the brown coat. The orange coat is to the right of the brown coat."
            ),
            options=tuple(
                f"The {color} coat is the fourth from the left"
                for color in ("gray", "white", "black", "brown", "orange", "purple", "yellow")
            ),
            answer=3,
            rationale=(
                "Gray is first, white is second, purple is sixth, and yellow is seventh. Black, brown, and "
                "orange are in between. Black is left of brown, and orange is right of brown. So the order "
                "is gray, white, black, brown, orange, purple, yellow. The brown coat is the fourth."
            ),
        ),
    ),
    "tracking_shuffled_objects_three_objects": (
        WorkedExample(
            question=(
                "Ann, Ben, and Cora hold one ball each: Ann has the red ball, Ben has the blue ball, and "
                "Cora has the green ball. First, Ann and Ben swap balls. Then, Ben and Cora swap balls. "
                "Finally, Ann and Cora swap balls. At the end, Ben has the"
            ),
            options=("red ball", "blue ball", "green ball"),
            answer=2,
            rationale=(
                "After the first swap, Ann has blue and Ben has red. After the second, Ben has green and "
                "Cora has red. After the third, Ann has red and Cora has blue. Ben still has the green ball."
            ),
        ),
    ),
    "tracking_shuffled_objects_five_objects": (
        WorkedExample(
            question=(
                "Ann, Ben, Cora, Dan, and Eli hold one card each: Ann has the sun, Ben has the hat, Cora has "
                "the key, Dan has the pen, and Eli has the ring. First, Ann and Eli swap cards. Then, Ben "
                "and Dan swap cards. Then, Eli and Cora swap cards. Then, Ann and Ben swap cards. Finally, "
                "Dan and Cora swap cards. At the end, Dan has the"
            ),
            options=("sun", "hat", "key", "pen", "ring"),
            answer=0,
            rationale=(
                "First, Ann gets the ring and Eli the sun. Then, Ben gets the pen and Dan the hat. Then, Eli "
                "gets the key and Cora the sun. Then, Ann gets the pen and Ben the ring. Finally, Dan gets "
                "the sun and Cora the hat."
            ),
        ),
    ),
    "tracking_shuffled_objects_seven_objects": (
        WorkedExample(
            question=(
                "Ann, Ben, Cora, Dan, Eli, Fay, and Gus hold one bag each: Ann has the apples, Ben has the "
                "bread, Cora has the cakes, Dan has the dates, Eli has the eggs, Fay has the figs, and Gus "
                "has the grapes. First, Ann and Gus swap bags. Then, Fay and Ben swap bags. Then, Gus and "
                "Dan swap bags. Then, Cora and Eli swap bags. Then, Dan and Ben swap bags. Then, Eli and Ann "
                "swap bags. Finally, Ben and Cora swap bags. At the end, Ben has the"
            ),
            options=("apples", "bread", "cakes", "dates", "eggs", "figs", "grapes"),
            answer=4,
            rationale=(
                "First, Ann gets the grapes and Gus the apples. Then, Fay gets the bread and Ben the figs. "
                "Then, Gus gets the dates and Dan the apples. Then, Cora gets the eggs and Eli the cakes. "
                "Then, Dan gets the figs and Ben the apples. Then, Eli gets the grapes and Ann the cakes. "
                "Finally, Ben gets the eggs and Cora the apples."
            ),
        ),
    ),
}
